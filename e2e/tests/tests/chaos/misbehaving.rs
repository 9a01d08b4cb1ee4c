//! Those who misbehave, each in one way. Where the protocol says what is to become of them, they insist on it.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use socket2::SockRef;
use testkit::Rng;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

/// The longest wait for anything that a misbehaving client insists on, on a machine that is busy with all the others.
const PATIENCE: Duration = Duration::from_secs(30);

/// A channel per connection at the most, by default.
const CHANNELS: usize = 256;

/// The largest message that the contract server takes.
const LARGEST: usize = 1024 * 1024;

/// The number of pings in a flood.
const PINGS: usize = 4_000;

/// Permits to wait for being accepted. With more waiting clients the kernel's queue would refuse some, which says
/// nothing about the server.
static DOOR: Semaphore = Semaphore::const_new(200);

/// The way in which a client misbehaves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    HalfHandshake,
    SlowHeaders,
    GarbageRequest,
    Refused,
    HalfOpen,
    GarbageFrames,
    Unmasked,
    NoText,
    GiantFrame,
    EndlessFragments,
    PingFlood,
    JoinFlood,
    DeafMember,
    DeafEcho,
    ResetMember,
    ResetMidFrame,
}

/// The number of clients of each kind in a round.
pub(crate) const MISBEHAVING: [(Kind, usize); 16] = [
    (Kind::HalfHandshake, 200),
    (Kind::SlowHeaders, 200),
    (Kind::GarbageRequest, 200),
    (Kind::Refused, 200),
    (Kind::HalfOpen, 200),
    (Kind::GarbageFrames, 200),
    (Kind::Unmasked, 100),
    (Kind::NoText, 100),
    (Kind::GiantFrame, 200),
    (Kind::EndlessFragments, 20),
    (Kind::PingFlood, 50),
    (Kind::JoinFlood, 20),
    (Kind::DeafMember, 100),
    (Kind::DeafEcho, 20),
    (Kind::ResetMember, 400),
    (Kind::ResetMidFrame, 400),
];

impl Kind {
    /// Returns `true` if it stays until it is released, rather than ending by itself.
    pub(crate) fn stays(self) -> bool {
        matches!(self, Kind::HalfHandshake | Kind::SlowHeaders | Kind::HalfOpen | Kind::DeafMember | Kind::DeafEcho)
    }
}

/// One misbehaving client.
pub(crate) struct MisbehavingClient {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    /// The channel in which healthy clients talk.
    pub(crate) room: String,
    /// The number of this client, which no other has.
    pub(crate) number: u64,
}

impl MisbehavingClient {
    pub(crate) async fn misbehave(self, mut released: watch::Receiver<bool>) {
        let until_released = async {
            released.wait_for(|released| *released).await.expect("the round goes on");
        };
        match self.kind {
            Kind::HalfHandshake => {
                let mut stream = self.connect().await;
                stream.write_all(b"GET /api/socket?token=t HTTP/1.1\r\nHost: x\r\nUpgr").await.expect("it listens");
                until_released.await;
            }
            Kind::SlowHeaders => {
                let mut stream = self.connect().await;
                tokio::select! {
                    () = drip(&mut stream) => {}
                    () = until_released => {}
                }
            }
            Kind::GarbageRequest => self.garbage_request().await,
            Kind::Refused => self.refused().await,
            Kind::HalfOpen => {
                let mut line = self.upgrade("/api/socket?token=t").await;
                line.stream.shutdown().await.expect("open");
                line.read_to_end().await;
                until_released.await;
            }
            Kind::GarbageFrames => {
                let mut line = self.upgrade("/api/socket?token=t").await;
                let mut bytes = self.garbage(4096);
                // Reserved bits: whatever follows, this is no frame.
                bytes[0] = 0xff;
                line.send(&bytes).await;
                assert_eq!(line.closed().await, Some(1002));
            }
            Kind::Unmasked => self.is_closed_for(&[0x81, 2, b'h', b'i'], 1002).await,
            Kind::NoText => self.is_closed_for(&frame(0x81, &[0xff, 0xfe]), 1007).await,
            Kind::GiantFrame => self.is_closed_for(&[0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1009).await,
            Kind::EndlessFragments => self.endless_fragments().await,
            Kind::PingFlood => self.ping_flood().await,
            Kind::JoinFlood => self.join_flood().await,
            Kind::DeafMember => {
                let mut line = self.upgrade("/api/socket?token=t").await;
                line.join(&self.room).await;
                until_released.await;
                line.reset();
            }
            Kind::DeafEcho => {
                let mut line = self.upgrade("/echo").await;
                let message = frame(0x82, &self.garbage(LARGEST));
                let flood = async {
                    // It never reads: sooner or later nobody takes any more.
                    loop {
                        line.stream.write_all(&message).await.expect("open");
                    }
                };
                tokio::select! {
                    () = flood => {}
                    () = until_released => {}
                }
                line.reset();
            }
            Kind::ResetMember => {
                let mut line = self.upgrade("/api/socket?token=t").await;
                line.join(&self.room).await;
                line.reset();
            }
            Kind::ResetMidFrame => {
                let mut line = self.upgrade("/api/socket?token=t").await;
                line.send(&frame(0x81, &self.garbage(1000))[..500]).await;
                line.reset();
            }
        }
    }

    async fn connect(&self) -> TcpStream {
        let _turn = DOOR.acquire().await.expect("never closed");
        self.dial().await
    }

    async fn dial(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        // Whoever does not read is to be noticed soon.
        socket.set_recv_buffer_size(4096).expect("any size is possible");
        timeout(PATIENCE, socket.connect(self.address)).await.expect("in time").expect("it listens")
    }

    async fn garbage_request(&self) {
        let mut stream = self.connect().await;
        let mut bytes = self.garbage(512);
        // No method begins like this.
        bytes[0] = 0x01;
        stream.write_all(&bytes).await.expect("it listens");
        let mut answer = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("in time").expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 400");
    }

    async fn refused(&self) {
        for (path, status) in [("/api/socket", "401"), ("/nowhere", "404")] {
            let head = self.ask(path).await.1;
            assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
        }
    }

    async fn is_closed_for(&self, bytes: &[u8], code: u16) {
        let mut line = self.upgrade("/api/socket?token=t").await;
        line.send(bytes).await;
        assert_eq!(line.closed().await, Some(code), "{:?}", self.kind);
    }

    /// It reads no pong until it has sent all pings: far more than may wait for it. So it is given up, unless the kernel
    /// had room for all of them.
    async fn ping_flood(&self) {
        let mut line = self.upgrade("/api/socket?token=t").await;
        line.send(&frame(0x89, &[b'p'; 125]).repeat(PINGS)).await;
        let mut pongs = 0;
        while pongs < PINGS {
            match line.frame().await.expect("a pong, or the end in good order") {
                (0x8a, _) => pongs += 1,
                (0x88, payload) => {
                    assert_eq!(payload[..2], 1013u16.to_be_bytes());
                    return;
                }
                // The first message of each connection.
                (first, _) => assert_eq!(first, 0x81),
            }
        }
        line.reset();
    }

    async fn endless_fragments(&self) {
        let mut line = self.upgrade("/api/socket?token=t").await;
        let part = [b'x'; 16 * 1024];
        line.send(&frame(0x01, &part)).await;
        for _ in 0..LARGEST / part.len() {
            line.send(&frame(0x00, &part)).await;
        }
        assert_eq!(line.closed().await, Some(1009));
    }

    /// Made-up names, far more than a connection may have; half of them match nothing. None is a room of healthy clients: whoever
    /// has so small a buffer could not follow them.
    async fn join_flood(&self) {
        let mut line = self.upgrade("/api/socket?token=t").await;
        for channel in 0..2 * CHANNELS {
            line.ask_to_join(&format!("/nowhere/flood-{}-{channel}", self.number)).await;
            line.ask_to_join(&format!("/plain/flood-{}-{channel}", self.number)).await;
            let (nowhere, plain) = (line.verdict().await, line.verdict().await);
            let expected = if channel < CHANNELS { ("ACKNOWLEDGE", Value::Null) } else { ("UNAUTHORIZED", json!(429)) };
            assert_eq!(nowhere.0, "UNAUTHORIZED");
            assert_eq!((plain.0.as_str(), plain.1), expected, "join {channel}");
        }
        line.reset();
    }

    async fn upgrade(&self, path: &str) -> Line {
        let (stream, head) = self.ask(path).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        Line { kind: self.kind, stream }
    }

    /// Asks for an upgrade; the head of the answer.
    async fn ask(&self, path: &str) -> (BufReader<TcpStream>, String) {
        let _turn = DOOR.acquire().await.expect("never closed");
        let mut stream = BufReader::new(self.dial().await);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("it listens");
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = timeout(PATIENCE, stream.read_line(&mut head)).await.expect("in time").expect("an answer");
            assert!(read > 0, "the answer ends early: {head}");
        }
        (stream, head)
    }

    /// Bytes that mean nothing, the same in every run.
    fn garbage(&self, length: usize) -> Vec<u8> {
        Rng::new(self.number).bytes(length)
    }
}

/// Sends headers that never end, one now and then.
async fn drip(stream: &mut TcpStream) {
    stream.write_all(b"GET /api/socket?token=t HTTP/1.1\r\n").await.expect("it listens");
    // After some of them, or some time, the server may have had enough.
    while stream.write_all(b"X-More: and more\r\n").await.is_ok() {
        sleep(Duration::from_millis(50)).await;
    }
}

/// A frame of a client, masked with zeros, and so not changed by it (RFC 6455 section 5.2).
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(0x80 | length as u8),
        length @ ..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// An upgraded connection, without a WebSocket around it that would prevent anything.
struct Line {
    kind: Kind,
    stream: BufReader<TcpStream>,
}

impl Line {
    async fn send(&mut self, bytes: &[u8]) {
        let sent = timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("in time");
        sent.unwrap_or_else(|error| panic!("{:?}: {error}", self.kind));
    }

    async fn ask_to_join(&mut self, channel: &str) {
        let join = json!({
            "action": "JOIN_CHANNEL", "event": "JOIN_CHANNEL", "channelName": channel, "requestId": channel,
            "payload": { "username": "bad" },
        });
        self.send(&frame(0x81, join.to_string().as_bytes())).await;
    }

    async fn join(&mut self, channel: &str) {
        self.ask_to_join(channel).await;
        assert_eq!(self.verdict().await.0, "ACKNOWLEDGE");
    }

    /// The answer to a join, and its code if it is declined.
    async fn verdict(&mut self) -> (String, Value) {
        loop {
            let (first, payload) = self.frame().await.expect("a verdict");
            assert_eq!(first, 0x81);
            let message: Value = serde_json::from_slice(&payload).expect("JSON");
            let event = message["event"].as_str().expect("checked");
            if ["ACKNOWLEDGE", "UNAUTHORIZED"].contains(&event) {
                return (event.to_owned(), message["payload"]["code"].clone());
            }
        }
    }

    /// The code of the close frame; `None` if there is none.
    async fn closed(&mut self) -> Option<u16> {
        loop {
            let (first, payload) = self.frame().await?;
            if first == 0x88 {
                return Some(u16::from_be_bytes([*payload.first()?, *payload.get(1)?]));
            }
        }
    }

    /// The first byte of the next frame, and its payload; `None` at the end.
    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let (first, short) = (self.stream.read_u8().await?, self.stream.read_u8().await?);
            let length = match short {
                126 => self.stream.read_u16().await?.into(),
                127 => self.stream.read_u64().await?,
                short => short.into(),
            };
            let mut payload = vec![0; usize::try_from(length).expect("no giant")];
            self.stream.read_exact(&mut payload).await?;
            Ok::<_, std::io::Error>((first, payload))
        };
        timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("{:?}: no frame in time", self.kind)).ok()
    }

    async fn read_to_end(&mut self) {
        let mut rest = Vec::new();
        let read = self.stream.read_to_end(&mut rest);
        timeout(PATIENCE, read).await.expect("in time").expect("the server hangs up in good order");
    }

    /// Ends without a word: whatever is on its way is thrown away, and the server sees a reset.
    fn reset(self) {
        let linger = SockRef::from(self.stream.get_ref()).set_linger(Some(Duration::ZERO));
        linger.expect("any time is possible");
    }
}
