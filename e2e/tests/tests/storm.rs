//! Many clients that join one room at once: every client that reads stays connected and ends with the complete list, and the
//! server's memory is bounded. The clients are in another process than the server.
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

/// The number of clients that join at once.
const CLIENTS: usize = 1000;

/// The size of each presence, without the id.
const PRESENCE: usize = 2 * 1024;

/// The bound of the server's peak memory, in bytes.
const BOUND: u64 = 64 << 20;

/// The longest time of the whole test, on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(300);

const ROOM: &str = "/presence/storm";

/// A client that reads frames, and parses only those that it needs.
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
        // A final text frame, masked with zeros, which leave the payload unchanged (RFC 6455 section 5.2).
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

    /// Reads the next text message.
    async fn text(&mut self) -> Vec<u8> {
        loop {
            let (first, length) = (self.stream.read_u8().await, self.stream.read_u8().await);
            let (first, length) = (
                first.expect("the server has closed the connection"),
                length.expect("the server has closed the connection"),
            );
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
                _ => panic!("the server has closed the connection: {:?}", String::from_utf8_lossy(&payload)),
            }
        }
    }

    /// Joins, reports that, and reads until the message that all have joined. Returns the last complete list.
    async fn run(mut self, number: usize, joined: UnboundedSender<()>) -> Vec<u8> {
        let name = format!("{number:04} {}", "x".repeat(PRESENCE));
        self.send("JOIN_CHANNEL", "JOIN_CHANNEL", json!({ "username": name })).await;
        loop {
            let text = self.text().await;
            if text.starts_with(br#"{"action":"SYSTEM","event":"ACKNOWLEDGE""#) {
                joined.send(()).expect("the joins are counted");
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

/// The numbers of the users in the presence list of a message.
fn names(text: &[u8]) -> HashSet<usize> {
    let message: Value = serde_json::from_slice(text).expect("JSON");
    let list = message["payload"]["presence"].as_array().expect("a list");
    let name = |entry: &Value| entry["username"].as_str().expect("a name")[..4].parse().expect("a number");
    assert_eq!(list.len(), list.iter().map(name).collect::<HashSet<usize>>().len(), "each user is listed once");
    list.iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures the memory of a server that is compiled with optimisations: ./test storm"]
async fn a_thousand_clients_join_at_once_see_all_and_the_peak_of_memory_is_bounded() {
    allow_descriptors(2 * CLIENTS as u64 + 100);
    let room = (2 * CLIENTS * PRESENCE).to_string();
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
            count.recv().await.expect("every client joins");
        }
        let mut last = Reader::connect(server.address).await;
        last.send("JOIN_CHANNEL", "JOIN_CHANNEL", json!({ "username": format!("{CLIENTS:04}") })).await;
        last.send("BROADCAST", "message", json!({ "all": "joined" })).await;
        let reading = tokio::spawn(async move { while !last.text().await.starts_with(br#"{"action":"BROADCAST""#) {} });
        let mut lists = HashSet::new();
        for client in clients {
            lists.insert(client.await.expect("it was not thrown out"));
        }
        reading.await.expect("it was not thrown out");
        lists
    };
    let lists = timeout(TIMEOUT, lists).await.expect("in time");
    println!(
        "{CLIENTS} clients that show {PRESENCE} bytes each: {} MiB of memory before, at the most {} MiB; {:.1?}",
        idle >> 20,
        server.peak_memory() >> 20,
        begun.elapsed()
    );
    for list in lists {
        assert_eq!(names(&list), HashSet::from_iter(0..=CLIENTS), "each client ends with the complete list");
    }
    assert!(server.peak_memory() <= BOUND, "{} bytes", server.peak_memory());
}
