//! Many clients on one thread, at little cost: edge-triggered polling, one read buffer, frames found by their lengths.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bench::wire::dialect::Dialect;
use flate2::Decompress;
use mio::{Events, Interest, Poll, Token};
use rustls::ClientConfig;
use socket2::{Domain, Socket, Type};

use super::client::{Client, Phase, Shared};
use super::deliveries::Deliveries;
use super::latency::{Latency, LatencyRecorder};
use super::stream::Stream;

/// The longest time without progress of any client that connects or joins.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The longest time without any message after which messages in flight count as lost.
const LINGER: Duration = Duration::from_secs(8);

/// The clients that may connect at the same time, if nothing else is asked for: the accept queue is short.
const ADVANCE: usize = 64;

/// The receive buffer of a client that never reads: the smaller it is, the sooner the server notices.
const STALLED_BUFFER: usize = 16 * 1024;

/// The transport of a client.
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
pub(crate) struct ClientSpec {
    pub(crate) address: SocketAddr,
    pub(crate) dialect: Dialect,
    pub(crate) transport: Transport,
    pub(crate) channels: Arc<[String]>,
    /// Joins its channels at once, and not in [`ClientPool::join_all`].
    pub(crate) eager: bool,
    /// Never reads once it has joined.
    pub(crate) stalled: bool,
    /// The address and port from which it connects; chosen by the system if it is `None`.
    pub(crate) source: Option<SocketAddrV4>,
    pub(crate) resume: Resume,
    /// The messages that it has received on an earlier connection.
    pub(crate) deliveries: Deliveries,
}

/// The way in which a client gets what it has missed.
#[derive(Clone, Debug)]
pub(crate) enum Resume {
    /// It does not.
    Never,
    /// It names its position when it joins, which is empty if it has none yet.
    From(Arc<str>),
    /// It names its session when it connects, and answers pings.
    Session(Arc<str>),
}

/// Clients that are connected and joined.
pub(crate) struct ClientPool {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    shared: Shared,
    tls: Option<Arc<ClientConfig>>,
    /// The clients that may connect at the same time.
    advance: usize,
}

impl ClientSpec {
    /// A member of one channel of our own server.
    pub(crate) fn plain(address: SocketAddr, channel: &str) -> ClientSpec {
        let channels = Arc::new([channel.to_owned()]);
        ClientSpec {
            address,
            dialect: Dialect::Pond,
            transport: Transport::Plain,
            channels,
            eager: true,
            stalled: false,
            source: None,
            resume: Resume::Never,
            deliveries: Deliveries::default(),
        }
    }
}

impl ClientPool {
    /// Creates an empty pool. Clients over TLS use the configuration `tls`.
    pub(crate) fn new(tls: Option<Arc<ClientConfig>>) -> Result<ClientPool> {
        let shared = Shared {
            buffer: vec![0; 65536],
            inflater: Decompress::new(false),
            inflated: Vec::new(),
            recorder: LatencyRecorder::new()?,
        };
        let (poll, events) = (Poll::new()?, Events::with_capacity(1024));
        Ok(ClientPool { poll, events, clients: Vec::new(), shared, tls, advance: ADVANCE })
    }

    /// Lets this number of clients connect at the same time.
    pub(crate) fn connect_at_once(&mut self, clients: usize) {
        self.advance = clients;
    }

    /// Connects a client for each spec and waits until all have joined.
    pub(crate) fn join(specs: impl IntoIterator<Item = ClientSpec>) -> Result<ClientPool> {
        let mut pool = ClientPool::new(None)?;
        pool.add(specs)?;
        Ok(pool)
    }

    /// Connects a client for each spec, and waits until all have joined, or could join if they are not eager.
    pub(crate) fn add(&mut self, specs: impl IntoIterator<Item = ClientSpec>) -> Result<()> {
        let first = self.clients.len();
        for spec in specs {
            self.connect(spec)?;
            if self.clients.len() - first > self.advance {
                self.wait_for_all_but(first, self.advance)?;
            }
        }
        self.wait_for_all_but(first, 0)
    }

    /// Lets all clients join that are not eager, at the same time, and waits until they have.
    pub(crate) fn join_all(&mut self) -> Result<()> {
        for (index, client) in self.clients.iter_mut().enumerate() {
            client.join(index)?;
        }
        self.wait(0, 0, Phase::Joined)
    }

    /// Lets one client join that is not eager, and waits until it has received this number of messages.
    pub(crate) fn join_one(&mut self, index: usize, messages: u64) -> Result<()> {
        self.clients[index].join(index)?;
        let deadline = Instant::now() + TIMEOUT;
        while self.clients[index].phase < Phase::Joined || self.clients[index].deliveries.received < messages {
            ensure!(Instant::now() < deadline, "client {index} does not get {messages} messages in time");
            self.poll(Duration::from_millis(100))?;
        }
        Ok(())
    }

    /// Lets each client send a pong that no ping asks for (RFC 6455 section 5.5.3) behind its next message.
    pub(crate) fn speak(&mut self) {
        self.clients.iter_mut().for_each(|client| client.owes_pong = true);
    }

    /// All clients.
    pub(crate) fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// The protocol that a client speaks.
    pub(crate) fn dialect(&self, index: usize) -> Dialect {
        self.clients[index].dialect
    }

    /// The latencies of all messages.
    pub(crate) fn recorder(&mut self) -> &mut LatencyRecorder {
        &mut self.shared.recorder
    }

    /// The latencies of all messages that counted, if there were any.
    pub(crate) fn latency(&self) -> Option<Latency> {
        self.shared.recorder.latency()
    }

    /// Bytes that all clients have received.
    pub(crate) fn bytes(&self) -> u64 {
        self.clients.iter().map(|client| client.bytes).sum()
    }

    /// Messages out of order, at all clients.
    pub(crate) fn out_of_order(&self) -> u64 {
        self.clients.iter().map(|client| client.deliveries.out_of_order).sum()
    }

    /// Messages received, by all clients.
    pub(crate) fn received(&self) -> u64 {
        self.clients.iter().map(|client| client.deliveries.received).sum()
    }

    /// Sends a frame from one client.
    pub(crate) fn send(&mut self, index: usize, frame: &[u8]) -> Result<()> {
        self.clients[index].send(frame)
    }

    /// Handles everything that has arrived, after a wait of at most this long.
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

    /// Waits until each client has received as many messages as expected, and returns the number of those that are missing.
    pub(crate) fn settle(&mut self, expected: impl Fn(usize) -> u64) -> Result<u64> {
        let mut deadline = Instant::now() + LINGER;
        let mut received = self.received();
        loop {
            if self.received() > received {
                received = self.received();
                deadline = Instant::now() + LINGER;
            }
            let due =
                self.clients.iter().enumerate().map(|(index, client)| (expected(index), client.deliveries.received));
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

    /// Handles messages until none has arrived for this long, and returns the time of the last one.
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
        let (mut least, mut deadline) = (usize::MAX, Instant::now() + TIMEOUT);
        loop {
            let behind = self.behind(first, phase);
            if behind <= missing {
                return Ok(());
            }
            if behind < least {
                (least, deadline) = (behind, Instant::now() + TIMEOUT);
            }
            ensure!(Instant::now() < deadline, "{behind} of {} are not {phase:?} in time", self.clients.len());
            self.poll(Duration::from_millis(100))?;
            self.speak_for_streams(first)?;
        }
    }

    /// The number of clients that have not reached this phase. They reach it in order, except for a few at the end.
    fn behind(&self, first: usize, phase: Phase) -> usize {
        let recent = self.clients.len().saturating_sub(4 * self.advance).max(first);
        let of = |from: usize| self.clients[from..].iter().filter(|client| client.phase < phase).count();
        match of(recent) {
            0 => of(first),
            behind => behind,
        }
    }

    /// Sends the joins of event streams, which need a request of their own.
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

    fn connect(&mut self, spec: ClientSpec) -> Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        if spec.stalled {
            socket.set_recv_buffer_size(STALLED_BUFFER)?;
        }
        if let Some(source) = spec.source {
            // Connections of an earlier run may still wait for their end.
            socket.set_reuse_address(true)?;
            socket.bind(&source.into()).with_context(|| format!("bind to {source}"))?;
        }
        socket.connect(&spec.address.into()).context("connect")?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        let mut socket = mio::net::TcpStream::from_std(socket.into());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut socket, Token(self.clients.len()), interest)?;
        let tls = (spec.transport == Transport::Tls).then(|| self.tls.clone()).flatten();
        let stream = Stream::new(socket, tls)?;
        let mut client = Client::new(stream, spec);
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
