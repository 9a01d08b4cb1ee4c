//! The least that the protocol allows: one thread, one `write(2)` for each message and receiver, no JSON. What a
//! publisher sends is passed on as it came, which for our load is the very frame that a server would make.
//!
//! It knows one channel and trusts its clients: it is a measure, not a server.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const LISTENER: Token = Token(usize::MAX);

/// The answer to the key of RFC 6455 section 1.3, which our load sends.
const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const CONNECTION: &str = r#"{"action":"CONNECT","event":"CONNECTION","channelName":"GATEWAY","requestId":"0","payload":{"connectionId":"0","id":"0"}}"#;
const ACKNOWLEDGE: &str =
    r#"{"action":"SYSTEM","event":"ACKNOWLEDGE","channelName":"/plain/bench","requestId":"0","payload":{}}"#;

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
            if !client.received.ends_with(b"\r\n\r\n") {
                continue;
            }
            client.received.clear();
            client.upgraded = true;
            client.send(UPGRADED);
            client.send(&frame(CONNECTION.as_bytes()));
        }
        let received = std::mem::take(&mut client.received);
        let mut at = 0;
        while let Some((opcode, text, len)) = client_frame(&received[at..]) {
            at += len;
            match (opcode, text.get(11)) {
                (1, Some(b'J')) => join(&mut clients[index]),
                // One write for each receiver: that is the measure.
                (1, Some(b'B')) => {
                    let frame = frame(&text);
                    clients.iter_mut().flatten().filter(|client| client.joined).for_each(|client| client.send(&frame));
                }
                (8, _) => return false,
                _ => {}
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
        client.send(&frame(ACKNOWLEDGE.as_bytes()));
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

/// The first client frame: opcode, unmasked payload, whole length.
fn client_frame(bytes: &[u8]) -> Option<(u8, Vec<u8>, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (start, len) = match second & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        len => (2, usize::from(len)),
    };
    let mask = bytes.get(start..start + 4)?;
    let payload = bytes.get(start + 4..start + 4 + len)?;
    let unmasked = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    Some((first & 0x0f, unmasked, start + 4 + len))
}

/// A text frame.
fn frame(text: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match text.len() {
        len @ 0..=125 => frame.push(len as u8),
        len @ 126..=0xffff => {
            frame.push(126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(text);
    frame
}
