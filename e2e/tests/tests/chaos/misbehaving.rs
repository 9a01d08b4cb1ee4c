//! Misbehaving clients of several kinds. Each checks the reaction of the server, where the protocol defines one.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use socket2::SockRef;
use testkit::Rng;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

/// The longest wait for a reaction of the server, on a machine that is busy with all the other clients.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A channel per connection at the most, by default.
const CHANNELS: usize = 256;

/// The largest message that the contract server accepts.
const MAX_MESSAGE: usize = 1024 * 1024;

/// The number of pings in a flood.
const PINGS: usize = 4_000;

/// Permits to connect. More clients at once would overflow the kernel's backlog, which would not test the server.
static CONNECTING: Semaphore = Semaphore::const_new(200);

/// The way in which a client misbehaves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Misbehaviour {
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
pub(crate) const MISBEHAVING: [(Misbehaviour, usize); 16] = [
    (Misbehaviour::HalfHandshake, 200),
    (Misbehaviour::SlowHeaders, 200),
    (Misbehaviour::GarbageRequest, 200),
    (Misbehaviour::Refused, 200),
    (Misbehaviour::HalfOpen, 200),
    (Misbehaviour::GarbageFrames, 200),
    (Misbehaviour::Unmasked, 100),
    (Misbehaviour::NoText, 100),
    (Misbehaviour::GiantFrame, 200),
    (Misbehaviour::EndlessFragments, 20),
    (Misbehaviour::PingFlood, 50),
    (Misbehaviour::JoinFlood, 20),
    (Misbehaviour::DeafMember, 100),
    (Misbehaviour::DeafEcho, 20),
    (Misbehaviour::ResetMember, 400),
    (Misbehaviour::ResetMidFrame, 400),
];

impl Misbehaviour {
    /// Returns `true` if the client stays until it is released; otherwise it ends by itself.
    pub(crate) fn stays(self) -> bool {
        matches!(
            self,
            Misbehaviour::HalfHandshake
                | Misbehaviour::SlowHeaders
                | Misbehaviour::HalfOpen
                | Misbehaviour::DeafMember
                | Misbehaviour::DeafEcho
        )
    }
}

/// One misbehaving client.
pub(crate) struct MisbehavingClient {
    pub(crate) kind: Misbehaviour,
    pub(crate) address: SocketAddr,
    /// The channel of healthy clients.
    pub(crate) room: String,
    /// The unique number of this client.
    pub(crate) number: u64,
}

impl MisbehavingClient {
    pub(crate) async fn misbehave(self, mut released: watch::Receiver<bool>) {
        let until_released = async {
            released.wait_for(|released| *released).await.expect("the round is running");
        };
        match self.kind {
            Misbehaviour::HalfHandshake => {
                let mut stream = self.connect().await;
                stream.write_all(b"GET /api/socket?token=t HTTP/1.1\r\nHost: x\r\nUpgr").await.expect("it listens");
                until_released.await;
            }
            Misbehaviour::SlowHeaders => {
                let mut stream = self.connect().await;
                tokio::select! {
                    () = drip(&mut stream) => {}
                    () = until_released => {}
                }
            }
            Misbehaviour::GarbageRequest => self.garbage_request().await,
            Misbehaviour::Refused => self.refused().await,
            Misbehaviour::HalfOpen => {
                let mut connection = self.upgrade("/api/socket?token=t").await;
                connection.stream.shutdown().await.expect("open");
                connection.read_to_end().await;
                until_released.await;
            }
            Misbehaviour::GarbageFrames => {
                let mut connection = self.upgrade("/api/socket?token=t").await;
                let mut bytes = self.garbage(4096);
                // Reserved bits are set, so this is no valid frame.
                bytes[0] = 0xff;
                connection.send(&bytes).await;
                assert_eq!(connection.closed().await, Some(1002));
            }
            Misbehaviour::Unmasked => self.is_closed_for(&[0x81, 2, b'h', b'i'], 1002).await,
            Misbehaviour::NoText => self.is_closed_for(&frame(0x81, &[0xff, 0xfe]), 1007).await,
            Misbehaviour::GiantFrame => {
                self.is_closed_for(&[0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1009).await
            }
            Misbehaviour::EndlessFragments => self.endless_fragments().await,
            Misbehaviour::PingFlood => self.ping_flood().await,
            Misbehaviour::JoinFlood => self.join_flood().await,
            Misbehaviour::DeafMember => {
                let mut connection = self.upgrade("/api/socket?token=t").await;
                connection.join(&self.room).await;
                until_released.await;
                connection.reset();
            }
            Misbehaviour::DeafEcho => {
                let mut connection = self.upgrade("/echo").await;
                let message = frame(0x82, &self.garbage(MAX_MESSAGE));
                // It never reads, so at some time the server must stop reading, too. After `write_wait` without progress the server
                // resets the connection, which a round on a slow machine may outlast.
                let flood = async { while connection.stream.write_all(&message).await.is_ok() {} };
                tokio::select! {
                    () = flood => {}
                    () = until_released => {}
                }
                connection.reset();
            }
            Misbehaviour::ResetMember => {
                let mut connection = self.upgrade("/api/socket?token=t").await;
                connection.join(&self.room).await;
                connection.reset();
            }
            Misbehaviour::ResetMidFrame => {
                let mut connection = self.upgrade("/api/socket?token=t").await;
                connection.send(&frame(0x81, &self.garbage(1000))[..500]).await;
                connection.reset();
            }
        }
    }

    async fn connect(&self) -> TcpStream {
        let _permit = CONNECTING.acquire().await.expect("never closed");
        self.dial().await
    }

    async fn dial(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        // A small buffer, so that the server soon notices a client that does not read.
        socket.set_recv_buffer_size(4096).expect("any size is possible");
        timeout(TIMEOUT, socket.connect(self.address)).await.expect("in time").expect("it listens")
    }

    async fn garbage_request(&self) {
        let mut stream = self.connect().await;
        let mut bytes = self.garbage(512);
        // No method begins like this.
        bytes[0] = 0x01;
        stream.write_all(&bytes).await.expect("it listens");
        let mut answer = [0; 12];
        timeout(TIMEOUT, stream.read_exact(&mut answer)).await.expect("in time").expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 400");
    }

    async fn refused(&self) {
        for (path, status) in [("/api/socket", "401"), ("/nowhere", "404")] {
            let head = self.request_upgrade(path).await.1;
            assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
        }
    }

    async fn is_closed_for(&self, bytes: &[u8], code: u16) {
        let mut connection = self.upgrade("/api/socket?token=t").await;
        connection.send(bytes).await;
        assert_eq!(connection.closed().await, Some(code), "{:?}", self.kind);
    }

    /// Reads no pong until all pings are sent: far more than may wait for a client. So the server closes the connection, unless the
    /// kernel's buffers had room for all of them.
    async fn ping_flood(&self) {
        let mut connection = self.upgrade("/api/socket?token=t").await;
        connection.send(&frame(0x89, &[b'p'; 125]).repeat(PINGS)).await;
        let mut pongs = 0;
        while pongs < PINGS {
            match connection.frame().await.expect("a pong, or a close frame") {
                (0x8a, _) => pongs += 1,
                (0x88, payload) => {
                    assert_eq!(payload[..2], 1013u16.to_be_bytes());
                    return;
                }
                // The first message of each connection.
                (first, _) => assert_eq!(first, 0x81),
            }
        }
        connection.reset();
    }

    async fn endless_fragments(&self) {
        let mut connection = self.upgrade("/api/socket?token=t").await;
        let part = [b'x'; 16 * 1024];
        connection.send(&frame(0x01, &part)).await;
        for _ in 0..MAX_MESSAGE / part.len() {
            connection.send(&frame(0x00, &part)).await;
        }
        assert_eq!(connection.closed().await, Some(1009));
    }

    /// Joins invented channels, far more than a connection may have; half of them match no pattern. None is a room of healthy clients,
    /// whose messages a client with such a small buffer could not receive.
    async fn join_flood(&self) {
        let mut connection = self.upgrade("/api/socket?token=t").await;
        for channel in 0..2 * CHANNELS {
            connection.request_join(&format!("/nowhere/flood-{}-{channel}", self.number)).await;
            let nowhere = connection.join_answer().await;
            connection.request_join(&format!("/plain/flood-{}-{channel}", self.number)).await;
            let plain = connection.join_answer().await;
            let expected = if channel < CHANNELS { ("ACKNOWLEDGE", Value::Null) } else { ("UNAUTHORIZED", json!(429)) };
            assert_eq!(nowhere.0, "UNAUTHORIZED");
            assert_eq!((plain.0.as_str(), plain.1), expected, "join {channel}");
        }
        connection.reset();
    }

    async fn upgrade(&self, path: &str) -> RawConnection {
        let (stream, head) = self.request_upgrade(path).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        RawConnection { kind: self.kind, stream }
    }

    /// Requests an upgrade, and returns the head of the response.
    async fn request_upgrade(&self, path: &str) -> (BufReader<TcpStream>, String) {
        let _permit = CONNECTING.acquire().await.expect("never closed");
        let mut stream = BufReader::new(self.dial().await);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("it listens");
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = timeout(TIMEOUT, stream.read_line(&mut head)).await.expect("in time").expect("an answer");
            assert!(read > 0, "the answer ends early: {head}");
        }
        (stream, head)
    }

    /// Meaningless bytes, the same in every run.
    fn garbage(&self, length: usize) -> Vec<u8> {
        Rng::new(self.number).bytes(length)
    }
}

/// Sends an endless head, slowly.
async fn drip(stream: &mut TcpStream) {
    stream.write_all(b"GET /api/socket?token=t HTTP/1.1\r\n").await.expect("it listens");
    // The server closes the connection for the number of headers or for the time.
    while stream.write_all(b"X-More: and more\r\n").await.is_ok() {
        sleep(Duration::from_millis(50)).await;
    }
}

/// A client's frame, masked with zeros, which leave the payload unchanged (RFC 6455 section 5.2).
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

/// An upgraded connection without a WebSocket library, which would prevent invalid frames.
struct RawConnection {
    kind: Misbehaviour,
    stream: BufReader<TcpStream>,
}

impl RawConnection {
    async fn send(&mut self, bytes: &[u8]) {
        let sent = timeout(TIMEOUT, self.stream.write_all(bytes)).await.expect("in time");
        sent.unwrap_or_else(|error| panic!("{:?}: {error}", self.kind));
    }

    async fn request_join(&mut self, channel: &str) {
        let join = json!({
            "action": "JOIN_CHANNEL", "event": "JOIN_CHANNEL", "channelName": channel, "requestId": channel,
            "payload": { "username": "bad" },
        });
        self.send(&frame(0x81, join.to_string().as_bytes())).await;
    }

    async fn join(&mut self, channel: &str) {
        self.request_join(channel).await;
        assert_eq!(self.join_answer().await.0, "ACKNOWLEDGE");
    }

    /// The answer to a join, and its code if it is declined.
    async fn join_answer(&mut self) -> (String, Value) {
        loop {
            let (first, payload) = self.frame().await.expect("an answer");
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
        timeout(TIMEOUT, read).await.unwrap_or_else(|_| panic!("{:?}: no frame in time", self.kind)).ok()
    }

    async fn read_to_end(&mut self) {
        let mut rest = Vec::new();
        let read = self.stream.read_to_end(&mut rest);
        timeout(TIMEOUT, read).await.expect("in time").expect("the server closes the connection");
    }

    /// Resets the connection: bytes in flight are discarded.
    fn reset(self) {
        let linger = SockRef::from(self.stream.get_ref()).set_linger(Some(Duration::ZERO));
        linger.expect("any time is possible");
    }
}
