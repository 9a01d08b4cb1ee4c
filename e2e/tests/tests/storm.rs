//! A storm of clients into one room, in the eyes of its operator: everybody who reads stays and ends with the true list, and
//! the server's memory has a bound. The clients are another process than the server.
#![cfg(target_os = "linux")]

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use e2e_tests::{ContractServer, allow_descriptors};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{Instant, timeout};

/// How many clients come at once.
const CLIENTS: usize = 1000;

/// How much each shows of itself, but for its id.
const SHOWN: usize = 2 * 1024;

/// The most memory that the server may ever have had, in bytes.
const BOUND: u64 = 64 << 20;

/// How long all of it may take, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(300);

const ROOM: &str = "/presence/storm";

/// A client that reads frames, and looks into those it needs only.
struct Reader {
    stream: BufReader<TcpStream>,
    /// The last message with a whole presence list.
    list: Vec<u8>,
}

impl Reader {
    async fn connect(address: SocketAddr) -> Reader {
        let mut stream = BufReader::new(TcpStream::connect(address).await.expect("it listens"));
        let request = "GET /api/socket?token=t HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.get_mut().write_all(request.as_bytes()).await.expect("it reads");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("an answer"));
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        Reader { stream, list: Vec::new() }
    }

    async fn send(&mut self, action: &str, event: &str, payload: Value) {
        let message =
            json!({ "action": action, "event": event, "channelName": ROOM, "requestId": event, "payload": payload });
        let text = message.to_string();
        // Final, text, masked with zeros, and so not changed by it (RFC 6455 section 5.2).
        let mut frame = vec![0x81];
        match u8::try_from(text.len()) {
            Ok(length @ ..126) => frame.push(0x80 | length),
            _ => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&u16::try_from(text.len()).expect("a short message").to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(text.as_bytes());
        self.stream.get_mut().write_all(&frame).await.expect("it reads");
    }

    /// The next text.
    async fn text(&mut self) -> Vec<u8> {
        loop {
            let (first, length) = (self.stream.read_u8().await, self.stream.read_u8().await);
            let (first, length) = (first.expect("it was thrown out"), length.expect("it was thrown out"));
            let length = match length {
                126 => usize::from(self.stream.read_u16().await.expect("a whole frame")),
                127 => usize::try_from(self.stream.read_u64().await.expect("a whole frame")).expect("it fits"),
                length => usize::from(length),
            };
            let mut payload = vec![0; length];
            self.stream.read_exact(&mut payload).await.expect("a whole frame");
            match first {
                0x81 => return payload,
                0x89 => {}
                _ => panic!("it was thrown out: {:?}", String::from_utf8_lossy(&payload)),
            }
        }
    }

    /// Joins, and reads until somebody says that all have come. Tells when it is in.
    async fn run(mut self, number: usize, joined: UnboundedSender<()>) -> Vec<u8> {
        let name = format!("{number:04} {}", "x".repeat(SHOWN));
        self.send("JOIN_CHANNEL", "JOIN_CHANNEL", json!({ "username": name })).await;
        loop {
            let text = self.text().await;
            if text.starts_with(br#"{"action":"SYSTEM","event":"ACKNOWLEDGE""#) {
                joined.send(()).expect("somebody counts");
            } else if text.starts_with(br#"{"action":"PRESENCE""#) {
                if !text.ends_with(br#","partial":true}}"#) {
                    self.list = text;
                }
            } else if text.starts_with(br#"{"action":"BROADCAST","event":"message""#) {
                return self.list;
            }
        }
    }
}

/// Whose entries a message with a presence list has.
fn names(text: &[u8]) -> HashSet<usize> {
    let message: Value = serde_json::from_slice(text).expect("JSON");
    let list = message["payload"]["presence"].as_array().expect("a list");
    let name = |entry: &Value| entry["username"].as_str().expect("a name")[..4].parse().expect("a number");
    assert_eq!(list.len(), list.iter().map(name).collect::<HashSet<usize>>().len(), "everybody is listed once");
    list.iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures the memory of a server that is compiled with optimisations: ./test storm"]
async fn a_storm_of_clients_is_let_in_sees_everybody_and_has_a_bounded_peak_of_memory() {
    allow_descriptors(2 * CLIENTS as u64 + 100);
    let room = (2 * CLIENTS * SHOWN).to_string();
    let settings = [("MAX_CHANNEL_PRESENCE", room.as_str()), ("MAX_PRESENCE_LIST", room.as_str())];
    let server = ContractServer::start_with(&settings).await;
    let mut readers = Vec::new();
    for _ in 0..CLIENTS {
        readers.push(Reader::connect(server.address).await);
    }
    let (idle, begun) = (server.memory(), Instant::now());
    let (joined, mut count) = unbounded_channel();
    let clients: Vec<_> = readers
        .into_iter()
        .enumerate()
        .map(|(number, reader)| tokio::spawn(reader.run(number, joined.clone())))
        .collect();
    let lists = async {
        for _ in 0..CLIENTS {
            count.recv().await.expect("everybody joins");
        }
        let mut last = Reader::connect(server.address).await;
        last.send("JOIN_CHANNEL", "JOIN_CHANNEL", json!({ "username": format!("{CLIENTS:04}") })).await;
        last.send("BROADCAST", "message", json!({ "all": "have come" })).await;
        let reading = tokio::spawn(async move { while !last.text().await.starts_with(br#"{"action":"BROADCAST""#) {} });
        let mut lists = HashSet::new();
        for client in clients {
            lists.insert(client.await.expect("it was not thrown out"));
        }
        reading.await.expect("it was not thrown out");
        lists
    };
    let lists = timeout(PATIENCE, lists).await.expect("in time");
    println!(
        "{CLIENTS} clients that show {SHOWN} bytes each: {} MiB of memory before, at the most {} MiB; {:.1?}",
        idle >> 20,
        server.peak_memory() >> 20,
        begun.elapsed()
    );
    for list in lists {
        assert_eq!(names(&list), HashSet::from_iter(0..=CLIENTS), "everybody ends with the true list");
    }
    assert!(server.peak_memory() <= BOUND, "{} bytes", server.peak_memory());
}
