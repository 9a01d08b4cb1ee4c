//! Many clients on one thread, as cheap as can be: edge-triggered polling, one read buffer, frames found by their
//! lengths.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bench::wire::client as wire;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::ledger::Ledger;

/// The longest time for all clients to connect and join.
const PATIENCE: Duration = Duration::from_secs(60);

/// The server and the channel of a client.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    /// The server's address.
    pub(crate) address: SocketAddr,
    /// The channel that the client joins.
    pub(crate) channel: String,
}

/// Clients that are connected and joined.
pub(crate) struct Crowd {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    buffer: Vec<u8>,
}

/// One of them.
pub(crate) struct Client {
    stream: TcpStream,
    channel: String,
    rest: Vec<u8>,
    unsent: Vec<u8>,
    upgraded: bool,
    joined: bool,
    /// The messages that it has received.
    pub(crate) ledger: Ledger,
}

impl Crowd {
    /// Connects a client for each seat, and has it join.
    pub(crate) fn join(seats: impl IntoIterator<Item = Seat>) -> Result<Crowd> {
        let mut crowd = Crowd {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            clients: Vec::new(),
            buffer: vec![0; 65536],
        };
        let deadline = Instant::now() + PATIENCE;
        for seat in seats {
            crowd.connect(seat)?;
            // Not all at once: the accept queue is short.
            crowd.wait_for_all_but(64, deadline)?;
        }
        crowd.wait_for_all_but(0, deadline)?;
        Ok(crowd)
    }

    /// All clients.
    pub(crate) fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// Sends a frame from one client.
    pub(crate) fn send(&mut self, index: usize, frame: &[u8]) -> Result<()> {
        let client = &mut self.clients[index];
        client.unsent.extend_from_slice(frame);
        client.flush()
    }

    /// Handles what has come, waiting for it at most this long.
    pub(crate) fn poll(&mut self, wait: Duration) -> Result<()> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in &self.events {
            let index = event.token().0;
            let client = &mut self.clients[index];
            if event.is_writable() {
                client.flush()?;
            }
            if event.is_readable() {
                client.read(&mut self.buffer, index)?;
            }
        }
        Ok(())
    }

    /// Waits until each client has got as many messages as expected of it; answers how many did not come.
    pub(crate) fn settle(&mut self, expected: impl Fn(usize) -> u64) -> Result<u64> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let due = self.clients.iter().enumerate().map(|(index, client)| (expected(index), client.ledger.received));
            let (missing, surplus) = due.fold((0, 0), |(missing, surplus), (expected, received)| {
                (missing + expected.saturating_sub(received), surplus + received.saturating_sub(expected))
            });
            if missing == 0 || Instant::now() > deadline {
                ensure!(surplus == 0, "{surplus} messages more were received than sent");
                return Ok(missing);
            }
            self.poll(Duration::from_millis(50))?;
        }
    }

    fn wait_for_all_but(&mut self, missing: usize, deadline: Instant) -> Result<()> {
        while self.clients.len() - self.count(|client| client.joined) > missing {
            self.check(deadline)?;
            self.poll(Duration::from_millis(100))?;
        }
        Ok(())
    }

    fn count(&self, of: impl Fn(&Client) -> bool) -> usize {
        // Clients join in order, but for a few at the end.
        self.clients.iter().filter(|client| of(client)).count()
    }

    fn check(&self, deadline: Instant) -> Result<()> {
        let (all, upgraded, joined) =
            (self.clients.len(), self.count(|client| client.upgraded), self.count(|client| client.joined));
        ensure!(
            Instant::now() < deadline,
            "joining takes too long: {all} have connected, {upgraded} are upgraded, {joined} have joined"
        );
        Ok(())
    }

    fn connect(&mut self, seat: Seat) -> Result<()> {
        let mut stream = TcpStream::from_std({
            let stream = std::net::TcpStream::connect(seat.address).context("connect")?;
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            stream
        });
        self.poll.registry().register(
            &mut stream,
            Token(self.clients.len()),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        let unsent = wire::upgrade_request("/api/socket?token=t");
        let mut client = Client {
            stream,
            channel: seat.channel,
            rest: Vec::new(),
            unsent,
            upgraded: false,
            joined: false,
            ledger: Ledger::default(),
        };
        client.flush()?;
        self.clients.push(client);
        Ok(())
    }
}

impl Client {
    fn read(&mut self, buffer: &mut [u8], index: usize) -> Result<()> {
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => bail!("the server has closed connection {index}"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).with_context(|| format!("connection {index}")),
            };
            if self.rest.is_empty() {
                let used = self.take(&buffer[..read], index)?;
                self.rest.extend_from_slice(&buffer[used..read]);
            } else {
                let mut all = std::mem::take(&mut self.rest);
                all.extend_from_slice(&buffer[..read]);
                let used = self.take(&all, index)?;
                self.rest = all.split_off(used);
            }
            if self.rest.is_empty() {
                self.rest = Vec::new();
            }
            if read < buffer.len() {
                return Ok(());
            }
        }
    }

    /// Handles all complete frames; answers how many bytes they were.
    fn take(&mut self, bytes: &[u8], index: usize) -> Result<usize> {
        let mut used = 0;
        if !self.upgraded {
            let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(0) };
            ensure!(bytes.starts_with(b"HTTP/1.1 101"), "refused: {}", String::from_utf8_lossy(&bytes[..end]));
            self.upgraded = true;
            used = end + 4;
            self.unsent.extend_from_slice(&wire::join(&self.channel, index));
            self.flush()?;
        }
        while let Some((first, payload, len)) = wire::frame(&bytes[used..]) {
            used += len;
            match (first, wire::mark(payload)) {
                (0x81, Some((publisher, n))) => self.ledger.note(publisher, n),
                (0x81, None) => self.joined |= payload.windows(11).any(|window| window == b"ACKNOWLEDGE"),
                (0x89, _) => self.unsent.extend_from_slice(&[0x8a, 0x80, 0, 0, 0, 0]),
                _ => bail!("connection {index} got a frame {first:#x}: {}", String::from_utf8_lossy(payload)),
            }
        }
        self.flush()?;
        Ok(used)
    }

    fn flush(&mut self) -> Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.unsent = Vec::new();
        Ok(())
    }
}
