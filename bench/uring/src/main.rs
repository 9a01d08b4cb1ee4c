//! The limit server (`bench/src/bin/limit.rs`) with all reads and writes over io_uring, by tokio-uring. It does the same work: one
//! thread, one write for each message and receiver, no JSON parser. The writes of one message to all members of a room are submitted
//! together, and complete before the next message of that room: two writes to one socket could otherwise overtake each other.

#[path = "../../src/wire/frame.rs"]
#[allow(dead_code, unreachable_pub, reason = "the load needs the rest")]
mod frame;
#[path = "../../src/wire/server.rs"]
mod wire;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use tokio_uring::net::{TcpListener, TcpStream};
use wire::ClientRequest;

/// The entries of the submission queue: the writes of one message to a thousand members fit.
const ENTRIES: u32 = 4096;

/// The size of the buffer of each connection.
const BUFFER: usize = 4096;

#[derive(Default)]
struct Server {
    rooms: RefCell<HashMap<String, Rc<Room>>>,
}

#[derive(Default)]
struct Room {
    members: RefCell<Vec<Rc<TcpStream>>>,
    /// Messages that wait for the one that is being delivered.
    queue: RefCell<VecDeque<Bytes>>,
    delivering: RefCell<bool>,
}

fn main() -> std::io::Result<()> {
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(0);
    let mut ring = tokio_uring::uring_builder();
    if std::env::var("COOPERATIVE").is_ok_and(|value| value == "1") {
        // Completions are handled at the next system call, instead of interrupting the thread (Linux 5.19). To handle them only when
        // the thread asks for them (`setup_defer_taskrun`) is not possible here: tokio-uring waits with epoll, and never asks.
        ring.setup_coop_taskrun().setup_taskrun_flag();
    }
    tokio_uring::builder().entries(ENTRIES).uring_builder(&ring).start(async move {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
        println!("listening {}", listener.local_addr()?.port());
        let server = Rc::new(Server::default());
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio_uring::spawn(serve(Rc::clone(&server), Rc::new(stream)));
        }
    })
}

/// Serves one client until it disconnects.
async fn serve(server: Rc<Server>, stream: Rc<TcpStream>) {
    let (mut received, mut upgraded, mut rooms) = (Vec::new(), false, Vec::<Rc<Room>>::new());
    let mut buffer = vec![0; BUFFER];
    'open: loop {
        let (read, back) = stream.read(buffer).await;
        buffer = back;
        let Ok(read @ 1..) = read else { break };
        received.extend_from_slice(&buffer[..read]);
        if !upgraded {
            if !wire::is_request(&received) {
                continue;
            }
            received.clear();
            upgraded = true;
            send(&stream, wire::upgraded().into()).await;
        }
        let mut at = 0;
        while let Some((request, length)) = wire::parse_request(&received[at..]) {
            match request {
                Some(ClientRequest::Join(channel)) => {
                    let room = Rc::clone(server.rooms.borrow_mut().entry(channel.to_owned()).or_default());
                    room.members.borrow_mut().push(Rc::clone(&stream));
                    rooms.push(room);
                    send(&stream, wire::joined().into()).await;
                }
                Some(ClientRequest::Publish(message)) => {
                    if let Some(room) = rooms.first() {
                        room.publish(wire::text(message).into()).await;
                    }
                }
                Some(ClientRequest::Echo(message)) => send(&stream, wire::text(message).into()).await,
                Some(ClientRequest::Close) => break 'open,
                None => {}
            }
            at += length;
        }
        received.drain(..at);
    }
    for room in rooms {
        room.members.borrow_mut().retain(|member| !Rc::ptr_eq(member, &stream));
    }
}

impl Room {
    /// Delivers a message, and those that are published meanwhile.
    async fn publish(&self, message: Bytes) {
        self.queue.borrow_mut().push_back(message);
        if self.delivering.replace(true) {
            return;
        }
        loop {
            let Some(message) = self.queue.borrow_mut().pop_front() else { break };
            let members = self.members.borrow().clone();
            // All are in the submission queue before the first is awaited: one system call submits them.
            let writes: Vec<_> = members.iter().map(|member| member.write(message.clone()).submit()).collect();
            for (member, write) in members.iter().zip(writes) {
                let (Ok(written), message) = write.await else { continue };
                if written < message.len() {
                    send(member, Bytes::slice(&message, written..)).await;
                }
            }
        }
        self.delivering.replace(false);
    }
}

/// Writes all bytes.
async fn send(stream: &TcpStream, bytes: Bytes) {
    // An error means that the client has disconnected, which its task finds out.
    let _ = stream.write_all(bytes).await;
}
