//! The minimum that the protocol requires: one thread, one `write(2)` for each message and receiver, no JSON parser. A message is
//! forwarded unchanged, which for our load is the same frame that a server would encode.
//!
//! With `COALESCE=1` it collects the messages of all clients during one wake-up and does one `write(2)` for each receiver.
//!
//! It is a reference for measurements and no server: it trusts its clients, and every message of a client goes to the channel that
//! the client joined first.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use bench::wire::server::{self as wire, ClientRequest};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const LISTENER: Token = Token(usize::MAX);

struct Limit {
    clients: Vec<Option<Connection>>,
    rooms: Vec<Room>,
    /// The number of each room.
    names: HashMap<String, usize>,
    /// Messages are sent at the end of a wake-up.
    coalesce: bool,
    /// Rooms with messages to send.
    pending: Vec<usize>,
}

#[derive(Default)]
struct Room {
    members: Vec<usize>,
    messages: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    unsent: Vec<u8>,
    upgraded: bool,
    rooms: Vec<usize>,
}

fn main() -> std::io::Result<()> {
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(0);
    let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    println!("listening {}", listener.local_addr()?.port());
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut limit = Limit {
        clients: Vec::new(),
        rooms: Vec::new(),
        names: HashMap::new(),
        coalesce: std::env::var("COALESCE").is_ok_and(|value| value == "1"),
        pending: Vec::new(),
    };
    let mut buffer = vec![0; 65536];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            if event.token() == LISTENER {
                limit.accept(&listener, &poll)?;
                continue;
            }
            let index = event.token().0;
            let alive = limit.clients[index].as_mut().is_some_and(Connection::flush) && limit.serve(index, &mut buffer);
            if !alive {
                limit.remove(index);
            }
        }
        limit.deliver();
    }
}

impl Limit {
    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> std::io::Result<()> {
        while let Ok((mut stream, _)) = listener.accept() {
            stream.set_nodelay(true)?;
            let token = Token(self.clients.len());
            poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            let (received, unsent, rooms) = (Vec::new(), Vec::new(), Vec::new());
            self.clients.push(Some(Connection { stream, received, unsent, upgraded: false, rooms }));
        }
        Ok(())
    }

    /// Reads and handles all messages of a client. Returns `false` when the client has disconnected.
    fn serve(&mut self, index: usize, buffer: &mut [u8]) -> bool {
        loop {
            let Some(client) = &mut self.clients[index] else { return false };
            let read = match client.stream.read(buffer) {
                Ok(0) => return false,
                Ok(read) => read,
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            };
            client.received.extend_from_slice(&buffer[..read]);
            if !client.upgraded {
                if !wire::is_request(&client.received) {
                    continue;
                }
                client.received.clear();
                client.upgraded = true;
                client.send(&wire::upgraded());
            }
            let mut received = std::mem::take(&mut client.received);
            let mut at = 0;
            while let Some((request, len)) = wire::parse_request(&received[at..]) {
                at += len;
                match request {
                    Some(ClientRequest::Join(channel)) => self.join(index, channel),
                    Some(ClientRequest::Publish(message)) => self.publish(index, &wire::text(message)),
                    Some(ClientRequest::Echo(message)) => self.send(index, &wire::text(message)),
                    Some(ClientRequest::Close) => return false,
                    None => {}
                }
            }
            received.drain(..at);
            if let Some(client) = &mut self.clients[index] {
                // An idle client has no buffer.
                client.received = if received.is_empty() { Vec::new() } else { received };
            }
        }
    }

    fn join(&mut self, index: usize, channel: &str) {
        let known = self.names.get(channel).copied();
        let room = known.unwrap_or_else(|| {
            self.names.insert(channel.to_owned(), self.rooms.len());
            self.rooms.push(Room::default());
            self.rooms.len() - 1
        });
        self.rooms[room].members.push(index);
        if let Some(client) = &mut self.clients[index] {
            client.rooms.push(room);
            client.send(&wire::joined());
        }
    }

    fn publish(&mut self, index: usize, frame: &[u8]) {
        let Some(&room) = self.clients[index].as_ref().and_then(|client| client.rooms.first()) else { return };
        if self.coalesce {
            if self.rooms[room].messages.is_empty() {
                self.pending.push(room);
            }
            self.rooms[room].messages.extend_from_slice(frame);
            return;
        }
        // One write for each receiver, which is the reference for other servers.
        for &member in &self.rooms[room].members {
            if let Some(client) = &mut self.clients[member] {
                client.send(frame);
            }
        }
    }

    /// Sends the messages of this wake-up.
    fn deliver(&mut self) {
        for room in std::mem::take(&mut self.pending) {
            let messages = std::mem::take(&mut self.rooms[room].messages);
            for &member in &self.rooms[room].members {
                if let Some(client) = &mut self.clients[member] {
                    client.send(&messages);
                }
            }
        }
    }

    fn send(&mut self, index: usize, frame: &[u8]) {
        if let Some(client) = &mut self.clients[index] {
            client.send(frame);
        }
    }

    fn remove(&mut self, index: usize) {
        let gone = self.clients[index].take();
        for room in gone.into_iter().flat_map(|client| client.rooms) {
            self.rooms[room].members.retain(|member| *member != index);
        }
    }
}

impl Connection {
    /// Writes at once. Bytes that the socket does not accept are written when it is writable.
    fn send(&mut self, frame: &[u8]) {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(frame);
            return;
        }
        let written = self.stream.write(frame).unwrap_or(0);
        self.unsent.extend_from_slice(&frame[written..]);
    }

    fn flush(&mut self) -> bool {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        self.unsent = Vec::new();
        true
    }
}
