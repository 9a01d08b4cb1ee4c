//! One client: its connection, and the messages that it has received.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use bench::wire::client as wire;
use bench::wire::dialect::{Dialect, ServerMessage};
use flate2::{Decompress, FlushDecompress};

use super::body::Body;
use super::deliveries::Deliveries;
use super::latency::LatencyRecorder;
use super::pool::{ClientSpec, Resume, Transport};
use super::stream::Stream;

/// A client of a [`ClientPool`](super::ClientPool).
pub(crate) struct Client {
    pub(super) stream: Stream,
    pub(super) dialect: Dialect,
    pub(super) transport: Transport,
    channels: Arc<[String]>,
    resume: Resume,
    /// The epoch of the history of its channel, once it has joined, if it can resume from a position.
    epoch: Option<Box<str>>,
    /// The server has told it that messages are missing: with its join, in the channel, or by closing the connection.
    pub(crate) told_of_gap: bool,
    /// The join handler of a channel `/history/…` has taken it for a new client.
    pub(crate) is_new: bool,
    /// Bytes of an incomplete frame.
    rest: Vec<u8>,
    unsent: Vec<u8>,
    pub(super) phase: Phase,
    /// Joins its channels as soon as it can.
    eager: bool,
    /// The number of channels that it has joined.
    joined: usize,
    /// It never reads once it has joined.
    pub(super) stalled: bool,
    /// It sends a pong behind its next message.
    pub(super) owes_pong: bool,
    /// The body of an event stream.
    body: Option<Box<Body>>,
    /// The id of an event stream, for the requests of its client.
    pub(super) stream_id: Option<String>,
    /// The number of bytes received.
    pub(super) bytes: u64,
    /// The messages that it has received.
    pub(crate) deliveries: Deliveries,
}

/// The phase of a client on its way into its channels.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Phase {
    Connecting,
    /// The connection is open; the server has not sent a message yet.
    Open,
    /// It can join channels.
    Welcome,
    /// It has joined all its channels.
    Joined,
}

/// The parts that all clients of a thread share.
pub(super) struct Shared {
    pub(super) buffer: Vec<u8>,
    pub(super) inflater: Decompress,
    pub(super) inflated: Vec<u8>,
    pub(super) recorder: LatencyRecorder,
}

impl Client {
    pub(super) fn new(stream: Stream, spec: ClientSpec) -> Client {
        let ClientSpec { dialect, transport, channels, eager, stalled, resume, deliveries, .. } = spec;
        let unsent = match transport {
            Transport::EventStream => {
                let path = dialect.stream_path(channels.first().map_or("", |channel| channel));
                format!("GET {path} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n").into_bytes()
            }
            _ => {
                let session = match &resume {
                    Resume::Session(key) => format!("&session={key}"),
                    Resume::Never | Resume::From(_) => String::new(),
                };
                let path = format!("{}{session}", dialect.path());
                wire::upgrade_request(&path, transport == Transport::Compressed)
            }
        };
        Client {
            stream,
            dialect,
            transport,
            channels,
            resume,
            epoch: None,
            told_of_gap: false,
            is_new: false,
            rest: Vec::new(),
            unsent,
            phase: Phase::Connecting,
            eager,
            joined: 0,
            stalled,
            owes_pong: false,
            body: None,
            stream_id: None,
            bytes: 0,
            deliveries,
        }
    }

    pub(super) fn is_eager(&self) -> bool {
        self.eager
    }

    /// Its first channel.
    pub(crate) fn channel(&self) -> &str {
        self.channels.first().map_or("", |channel| channel)
    }

    /// The epoch of the history of its channel: positions of the messages there begin with it.
    pub(crate) fn epoch(&self) -> Result<&str> {
        self.epoch.as_deref().context("the server has sent no position")
    }

    /// Joins its channels.
    pub(super) fn join(&mut self, index: usize) -> Result<()> {
        for (number, channel) in self.channels.iter().enumerate() {
            let user = index * self.channels.len() + number;
            let text = match &self.resume {
                Resume::From(position) => wire::resume_text(channel, user, position),
                Resume::Never | Resume::Session(_) => self.dialect.join(channel, user),
            };
            self.unsent.extend_from_slice(&wire::text(&text));
        }
        self.flush()
    }

    pub(super) fn send(&mut self, frame: &[u8]) -> Result<()> {
        self.unsent.extend_from_slice(frame);
        self.flush()
    }

    pub(super) fn read(&mut self, index: usize, shared: &mut Shared) -> Result<()> {
        let mut buffer = std::mem::take(&mut shared.buffer);
        let done = self.read_into(&mut buffer, index, shared);
        shared.buffer = buffer;
        done
    }

    fn read_into(&mut self, buffer: &mut [u8], index: usize, shared: &mut Shared) -> Result<()> {
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) if self.told_of_gap => return Ok(()),
                Ok(0) => bail!("the server has closed connection {index}"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).with_context(|| format!("connection {index}")),
            };
            self.bytes += read as u64;
            if self.rest.is_empty() {
                let used = self.take(&buffer[..read], index, shared)?;
                self.rest.extend_from_slice(&buffer[used..read]);
            } else {
                let mut all = std::mem::take(&mut self.rest);
                all.extend_from_slice(&buffer[..read]);
                let used = self.take(&all, index, shared)?;
                self.rest = all.split_off(used);
            }
            if self.rest.is_empty() {
                self.rest = Vec::new();
            }
            if read < buffer.len() && self.stream.is_drained_by_a_short_read() {
                return Ok(());
            }
        }
    }

    /// Handles all complete messages and returns the number of bytes that were used.
    fn take(&mut self, bytes: &[u8], index: usize, shared: &mut Shared) -> Result<usize> {
        let mut used = 0;
        if self.phase == Phase::Connecting {
            let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(0) };
            used = end + 4;
            self.opened(&bytes[..used], index)?;
        }
        let now = Instant::now();
        if self.transport == Transport::EventStream {
            used += self.take_events(&bytes[used..], index, now, shared)?;
        } else {
            while let Some((first, payload, len)) = wire::frame(&bytes[used..]) {
                used += len;
                self.frame(first, payload, index, now, shared)?;
            }
        }
        self.flush()?;
        Ok(used)
    }

    fn opened(&mut self, head: &[u8], index: usize) -> Result<()> {
        let head = String::from_utf8_lossy(head);
        let status = if self.transport == Transport::EventStream { "HTTP/1.1 200" } else { "HTTP/1.1 101" };
        ensure!(head.starts_with(status), "refused: {head}");
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
        };
        if self.transport == Transport::Compressed {
            let agreed = header("sec-websocket-extensions").unwrap_or_default();
            ensure!(agreed.contains("permessage-deflate"), "the server does not compress: {head}");
        }
        self.stream_id = header("x-connection-id");
        self.phase = Phase::Open;
        if self.transport == Transport::EventStream {
            return Ok(());
        }
        if let Some(greeting) = self.dialect.greeting() {
            self.unsent.extend_from_slice(&wire::text(greeting));
        }
        if self.dialect.joins_at_once() { self.welcome(index) } else { Ok(()) }
    }

    fn welcome(&mut self, index: usize) -> Result<()> {
        self.phase = self.phase.max(Phase::Welcome);
        if self.channels.is_empty() {
            self.phase = Phase::Joined;
        }
        if self.eager && self.transport != Transport::EventStream { self.join(index) } else { Ok(()) }
    }

    fn frame(&mut self, first: u8, payload: &[u8], index: usize, now: Instant, shared: &mut Shared) -> Result<()> {
        match first {
            0x81 => self.parse(payload, index, now, &mut shared.recorder),
            // RSV1: it is compressed.
            0xc1 => {
                let mut text = std::mem::take(&mut shared.inflated);
                inflate(&mut shared.inflater, payload, &mut text)?;
                let done = self.parse(&text, index, now, &mut shared.recorder);
                shared.inflated = text;
                done
            }
            0x89 => {
                self.unsent.extend_from_slice(&wire::pong(payload));
                Ok(())
            }
            0x88 if payload.ends_with(b"gap") => {
                self.told_of_gap = true;
                Ok(())
            }
            _ => bail!("connection {index} got a frame {first:#x}: {}", String::from_utf8_lossy(payload)),
        }
    }

    fn parse(&mut self, text: &[u8], index: usize, now: Instant, recorder: &mut LatencyRecorder) -> Result<()> {
        let (mut welcome, mut told_of_gap, mut is_new) = (false, self.told_of_gap, self.is_new);
        self.dialect.parse(text, |heard| match heard {
            ServerMessage::Message(publisher, n) => {
                if std::mem::take(&mut self.owes_pong) {
                    self.unsent.extend_from_slice(&wire::pong(b""));
                }
                self.deliveries.note(publisher, n);
                recorder.delivered(publisher, n, now);
            }
            ServerMessage::Joined => {
                self.epoch = wire::epoch(text).map(Box::from);
                told_of_gap |= wire::tells_of_gap(text);
                self.joined += 1;
                if self.joined >= self.channels.len() {
                    self.phase = Phase::Joined;
                }
            }
            // The server has subscribed the client of an event stream, which cannot answer there.
            ServerMessage::Welcome if self.transport == Transport::EventStream => self.phase = Phase::Joined,
            ServerMessage::Answer(_) if self.transport == Transport::EventStream => {}
            ServerMessage::Welcome => welcome = true,
            ServerMessage::Answer(text) => self.unsent.extend_from_slice(&wire::text(text)),
            ServerMessage::Other => {
                told_of_gap |= wire::tells_of_gap(text);
                is_new |= wire::tells_of_new(text);
            }
        });
        (self.told_of_gap, self.is_new) = (told_of_gap, is_new);
        if welcome { self.welcome(index) } else { Ok(()) }
    }

    /// Handles all complete lines of an event stream and returns the number of bytes that were used.
    fn take_events(&mut self, bytes: &[u8], index: usize, now: Instant, shared: &mut Shared) -> Result<usize> {
        let mut body = self.body.take().unwrap_or_default();
        let used = body.take(bytes)?;
        while let Some(line) = body.line() {
            if let Some(text) = line.strip_prefix(b"data: ") {
                self.parse(text, index, now, &mut shared.recorder)?;
            }
        }
        self.body = Some(body);
        Ok(used)
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.unsent = Vec::new();
        match self.stream.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// Inflates one message that was compressed without context takeover (RFC 7692 section 7.2.2).
fn inflate(inflater: &mut Decompress, payload: &[u8], text: &mut Vec<u8>) -> Result<()> {
    inflater.reset(false);
    text.clear();
    for part in [payload, &[0, 0, 0xff, 0xff]] {
        let before = inflater.total_in();
        loop {
            let done = (inflater.total_in() - before) as usize;
            text.reserve(part.len() * 4 + 1024);
            inflater.decompress_vec(&part[done..], text, FlushDecompress::Sync)?;
            // A full buffer may leave output in the decompressor, also when all input has been read.
            if (inflater.total_in() - before) as usize == part.len() && text.len() < text.capacity() {
                break;
            }
        }
    }
    Ok(())
}
