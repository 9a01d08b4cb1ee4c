//! Many clients on one thread, as cheap as can be: edge-triggered polling, one read buffer, frames found by their
//! lengths.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bench::wire::dialect::Dialect;
use flate2::Decompress;
use mio::{Events, Interest, Poll, Token};
use rustls::ClientConfig;
use socket2::{Domain, Socket, Type};

use super::client::{Client, Phase, Shared};
use super::stream::Stream;
use super::timeline::Timeline;

/// The longest time in which no further client gets as far as it should.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest time without any message until those on their way are given up.
const LINGER: Duration = Duration::from_secs(8);

/// The clients that may be on their way at once: the accept queue is short.
const ADVANCE: usize = 64;

/// The receive buffer of a client that never reads: the smaller it is, the sooner the server notices.
const STALLED_BUFFER: usize = 16 * 1024;

/// The way to the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Transport {
    /// A WebSocket.
    Plain,
    /// A WebSocket whose messages are compressed.
    Compressed,
    /// A WebSocket over TLS.
    Tls,
    /// Server-sent events.
    EventStream,
}

/// The server and the channels of a client.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) address: SocketAddr,
    pub(crate) dialect: Dialect,
    pub(crate) transport: Transport,
    pub(crate) channels: Arc<[String]>,
    /// Joins as soon as it may, and not when it is told to.
    pub(crate) eager: bool,
    /// Never reads once it has joined.
    pub(crate) stalled: bool,
}

/// Clients that are connected and joined.
pub(crate) struct Crowd {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    shared: Shared,
    tls: Option<Arc<ClientConfig>>,
}

impl Seat {
    /// A member of one channel of our own server.
    pub(crate) fn plain(address: SocketAddr, channel: &str) -> Seat {
        let channels = Arc::new([channel.to_owned()]);
        Seat { address, dialect: Dialect::Pond, transport: Transport::Plain, channels, eager: true, stalled: false }
    }
}

impl Crowd {
    /// No clients yet. Those that come over TLS trust what `tls` says.
    pub(crate) fn new(tls: Option<Arc<ClientConfig>>) -> Result<Crowd> {
        let shared = Shared {
            buffer: vec![0; 65536],
            inflater: Decompress::new(false),
            inflated: Vec::new(),
            timeline: Timeline::new()?,
        };
        Ok(Crowd { poll: Poll::new()?, events: Events::with_capacity(1024), clients: Vec::new(), shared, tls })
    }

    /// Connects a client for each seat, and has it join.
    pub(crate) fn join(seats: impl IntoIterator<Item = Seat>) -> Result<Crowd> {
        let mut crowd = Crowd::new(None)?;
        crowd.add(seats)?;
        Ok(crowd)
    }

    /// Connects a client for each seat, and waits until all have joined, or are welcome if they do not join by themselves.
    pub(crate) fn add(&mut self, seats: impl IntoIterator<Item = Seat>) -> Result<()> {
        let first = self.clients.len();
        for seat in seats {
            self.connect(seat)?;
            self.wait_for_all_but(first, ADVANCE)?;
        }
        self.wait_for_all_but(first, 0)
    }

    /// Has those join who did not by themselves, all at once, and waits until they have.
    pub(crate) fn join_all(&mut self) -> Result<()> {
        for (index, client) in self.clients.iter_mut().enumerate() {
            client.join(index)?;
        }
        self.wait(0, 0, Phase::Joined)
    }

    /// All clients.
    pub(crate) fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// The protocol that a client speaks.
    pub(crate) fn dialect(&self, index: usize) -> Dialect {
        self.clients[index].dialect
    }

    /// The schedule, and the latencies.
    pub(crate) fn timeline(&mut self) -> &mut Timeline {
        &mut self.shared.timeline
    }

    /// Bytes that all clients have received.
    pub(crate) fn bytes(&self) -> u64 {
        self.clients.iter().map(|client| client.bytes).sum()
    }

    /// Messages out of order, at all clients.
    pub(crate) fn disorder(&self) -> u64 {
        self.clients.iter().map(|client| client.ledger.disorder).sum()
    }

    /// Messages received, by all clients.
    pub(crate) fn received(&self) -> u64 {
        self.clients.iter().map(|client| client.ledger.received).sum()
    }

    /// Sends a frame from one client.
    pub(crate) fn send(&mut self, index: usize, frame: &[u8]) -> Result<()> {
        self.clients[index].send(frame)
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
            if client.stalled && client.phase == Phase::Joined {
                continue;
            }
            if event.is_writable() {
                client.flush()?;
            }
            if event.is_readable() {
                client.read(index, &mut self.shared)?;
            }
        }
        Ok(())
    }

    /// Waits until each client has got as many messages as expected of it; answers how many did not come.
    pub(crate) fn settle(&mut self, expected: impl Fn(usize) -> u64) -> Result<u64> {
        let mut deadline = Instant::now() + LINGER;
        let mut received = self.received();
        loop {
            if self.received() > received {
                received = self.received();
                deadline = Instant::now() + LINGER;
            }
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

    /// Handles what comes until nothing has come for this long; answers when the last of it came.
    pub(crate) fn until_quiet(&mut self, quiet: Duration) -> Result<Instant> {
        let (mut bytes, mut last) = (self.bytes(), Instant::now());
        let deadline = last + LINGER;
        while last.elapsed() < quiet && Instant::now() < deadline {
            self.poll(quiet / 10)?;
            if self.bytes() != bytes {
                (bytes, last) = (self.bytes(), Instant::now());
            }
        }
        Ok(last)
    }

    fn wait_for_all_but(&mut self, first: usize, missing: usize) -> Result<()> {
        let eager = self.clients.last().is_none_or(Client::is_eager);
        self.wait(first, missing, if eager { Phase::Joined } else { Phase::Welcome })
    }

    fn wait(&mut self, first: usize, missing: usize, phase: Phase) -> Result<()> {
        let (mut least, mut deadline) = (usize::MAX, Instant::now() + PATIENCE);
        loop {
            let behind = self.behind(first, phase);
            if behind <= missing {
                return Ok(());
            }
            if behind < least {
                (least, deadline) = (behind, Instant::now() + PATIENCE);
            }
            ensure!(Instant::now() < deadline, "{behind} of {} are not {phase:?} in time", self.clients.len());
            self.poll(Duration::from_millis(100))?;
            self.speak_for_streams(first)?;
        }
    }

    /// The number of clients that have not come so far. They come in order, but for a few at the end.
    fn behind(&self, first: usize, phase: Phase) -> usize {
        let recent = self.clients.len().saturating_sub(4 * ADVANCE).max(first);
        let of = |from: usize| self.clients[from..].iter().filter(|client| client.phase < phase).count();
        match of(recent) {
            0 => of(first),
            behind => behind,
        }
    }

    /// Sends the joins of event streams, which travel in requests of their own.
    fn speak_for_streams(&mut self, first: usize) -> Result<()> {
        for (index, client) in self.clients.iter_mut().enumerate().skip(first) {
            if client.transport != Transport::EventStream || client.phase != Phase::Open {
                continue;
            }
            if let Some(id) = client.stream_id.take() {
                let text = client.dialect.join(client.channel(), index);
                post(client.stream.socket().peer_addr()?, client.dialect.path(), &id, &text)?;
            }
        }
        Ok(())
    }

    fn connect(&mut self, seat: Seat) -> Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        if seat.stalled {
            socket.set_recv_buffer_size(STALLED_BUFFER)?;
        }
        socket.connect(&seat.address.into()).context("connect")?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        let mut socket = mio::net::TcpStream::from_std(socket.into());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut socket, Token(self.clients.len()), interest)?;
        let tls = (seat.transport == Transport::Tls).then(|| self.tls.clone()).flatten();
        let stream = Stream::new(socket, tls)?;
        let mut client = Client::new(stream, seat.dialect, seat.transport, seat.channels, seat.eager);
        client.stalled = seat.stalled;
        client.flush()?;
        self.clients.push(client);
        Ok(())
    }
}

/// Sends a message of an event stream's client, and waits until the server has accepted it.
fn post(address: SocketAddr, path: &str, id: &str, text: &str) -> Result<()> {
    let mut stream = std::net::TcpStream::connect(address)?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: bench\r\nX-Connection-ID: {id}\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )?;
    let mut answer = BufReader::new(stream);
    let mut status = String::new();
    answer.read_line(&mut status)?;
    ensure!(status.starts_with("HTTP/1.1 202"), "a request for an event stream was refused: {status}");
    answer.read_to_end(&mut Vec::new())?;
    Ok(())
}
