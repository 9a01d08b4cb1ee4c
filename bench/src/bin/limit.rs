//! The least that the protocol allows: one thread, one `write(2)` for each message and receiver, no JSON. What a
//! publisher sends is passed on as it came, which for our load is the very frame that a server would make.
//!
//! It knows one channel and trusts its clients: it is a measure, not a server.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use bench::wire::server::{self as wire, Wish};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const LISTENER: Token = Token(usize::MAX);

struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    unsent: Vec<u8>,
    upgraded: bool,
    joined: bool,
}

fn main() -> std::io::Result<()> {
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(0);
    let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    println!("listening {}", listener.local_addr()?.port());
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut buffer = vec![0; 65536];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut clients)?;
                continue;
            }
            let index = event.token().0;
            let alive = clients[index].as_mut().is_some_and(Client::flush) && serve(&mut clients, index, &mut buffer);
            if !alive {
                clients[index] = None;
            }
        }
    }
}

fn accept(listener: &TcpListener, poll: &Poll, clients: &mut Vec<Option<Client>>) -> std::io::Result<()> {
    while let Ok((mut stream, _)) = listener.accept() {
        stream.set_nodelay(true)?;
        let token = Token(clients.len());
        poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        let client = Client { stream, received: Vec::new(), unsent: Vec::new(), upgraded: false, joined: false };
        clients.push(Some(client));
    }
    Ok(())
}

/// Reads and handles everything that has come from one client; false once it has gone.
fn serve(clients: &mut [Option<Client>], index: usize, buffer: &mut [u8]) -> bool {
    loop {
        let Some(client) = &mut clients[index] else { return false };
        match client.stream.read(buffer) {
            Ok(0) => return false,
            Ok(read) => client.received.extend_from_slice(&buffer[..read]),
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
        if !client.upgraded {
            if !wire::is_request(&client.received) {
                continue;
            }
            client.received.clear();
            client.upgraded = true;
            client.send(&wire::upgraded());
        }
        let received = std::mem::take(&mut client.received);
        let mut at = 0;
        while let Some((wish, len)) = wire::wish(&received[at..]) {
            at += len;
            match wish {
                Some(Wish::Join(_)) => join(&mut clients[index]),
                // One write for each receiver: that is the measure.
                Some(Wish::Publish(message)) => {
                    let frame = wire::text(message);
                    clients.iter_mut().flatten().filter(|client| client.joined).for_each(|client| client.send(&frame));
                }
                Some(Wish::Close) => return false,
                None => {}
            }
        }
        if let Some(client) = &mut clients[index] {
            client.received = received[at..].to_vec();
        }
    }
}

fn join(client: &mut Option<Client>) {
    if let Some(client) = client {
        client.joined = true;
        client.send(&wire::joined());
    }
}

impl Client {
    /// Writes at once; what the socket does not take waits until it is writable.
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
        true
    }
}
