use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use pondsocket_proto::ws::{self, Decoder, Deflate, Deflater, Event, Opcode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::engine::outbox::Closure;
use crate::engine::socket::{Io, Scratch};
use crate::error::{Error, Result};
use crate::handler::BoxFuture;

/// A message of a raw WebSocket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Bytes),
}

/// A raw WebSocket, without the PondSocket protocol: what
/// [`PondSocket::create_websocket`](crate::PondSocket::create_websocket) hands to its handler. It is closed when
/// it is dropped.
///
/// ```
/// # use pondsocket::{PondSocket, WebSocket};
/// let pond = PondSocket::new();
/// pond.create_websocket("/echo", async |mut socket: WebSocket| {
///     while let Some(message) = socket.recv().await {
///         if socket.send(message).await.is_err() {
///             break;
///         }
///     }
/// });
/// ```
pub struct WebSocket {
    io: Box<dyn Io>,
    decoder: Decoder,
    deflater: Option<Deflater>,
    /// Frames that are not written yet.
    out: BytesMut,
    first: Vec<u8>,
    ended: bool,
    /// Completes when the server shuts down; `None` once it has.
    draining: Option<BoxFuture<Closure>>,
}

impl WebSocket {
    pub(crate) fn new(
        io: Box<dyn Io>,
        first: Vec<u8>,
        decoder: Decoder,
        deflate: Option<Deflate>,
        draining: BoxFuture<Closure>,
    ) -> WebSocket {
        let deflater = deflate.map(|deflate| Deflater::new(deflate.window_bits()));
        let draining = Some(draining);
        WebSocket { io, decoder, deflater, out: BytesMut::new(), first, ended: false, draining }
    }

    /// The next message; `None` once the connection has ended, for whatever reason. When the server shuts down the peer
    /// is told so, and this ends with its answer. Pings and a close are answered while this is awaited. Cancel-safe: a
    /// message is either returned or kept for the next call.
    pub async fn recv(&mut self) -> Option<Message> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Sends a message. It returns when the socket has taken all of it.
    ///
    /// # Errors
    /// 503 if the connection has ended. That is so, too, once the server shuts down: the peer has been told then.
    ///
    /// Not cancel-safe in the sense that a cancelled call may have queued the message: it is then sent by the next
    /// call of any method.
    pub async fn send(&mut self, message: Message) -> Result<()> {
        let ended = |_| Error::unavailable("the connection has ended");
        if poll_fn(|cx| Poll::Ready(self.heed_shutdown(cx))).await {
            poll_fn(|cx| self.poll_flush(cx)).await.map_err(ended)?;
        }
        if self.ended {
            return Err(ended(io::ErrorKind::BrokenPipe.into()));
        }
        match &message {
            Message::Text(text) => self.queue(Opcode::Text, text.as_bytes()),
            Message::Binary(bytes) => self.queue(Opcode::Binary, bytes),
        }
        poll_fn(|cx| self.poll_flush(cx)).await.map_err(ended)
    }

    /// Says goodbye with a close code (RFC 6455 section 7.4) and waits until the peer has answered or gone.
    pub async fn close(mut self, code: u16, reason: &str) {
        if !self.ended {
            self.queue_close(code, reason);
            self.ended = true;
            // A peer that has gone needs no goodbye.
            let _ = poll_fn(|cx| self.poll_flush(cx)).await;
            poll_fn(|cx| self.poll_farewell(cx)).await;
        }
    }

    fn queue(&mut self, opcode: Opcode, payload: &[u8]) {
        let mut frame = Vec::with_capacity(payload.len() + 10);
        match &mut self.deflater {
            Some(deflater) => deflater.encode(opcode, payload, &mut frame),
            None => ws::encode(opcode, payload, &mut frame),
        }
        self.out.extend_from_slice(&frame);
    }

    fn queue_close(&mut self, code: u16, reason: &str) {
        let mut frame = Vec::new();
        ws::encode_close(code, reason, &mut frame);
        self.out.extend_from_slice(&frame);
    }

    /// Queues a close frame if the server has begun to shut down; whether it has done so now.
    fn heed_shutdown(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(draining) = &mut self.draining else { return false };
        let Poll::Ready(closure) = draining.as_mut().poll(cx) else { return false };
        self.draining = None;
        if std::mem::replace(&mut self.ended, true) {
            return false;
        }
        self.queue_close(closure.code, &closure.text);
        true
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.heed_shutdown(cx);
        loop {
            let flushed = self.poll_flush(cx);
            if self.ended {
                // The last frame is out, or nobody takes it.
                if ready!(flushed).is_ok() {
                    ready!(self.poll_farewell(cx));
                }
                return Poll::Ready(None);
            }
            if matches!(flushed, Poll::Ready(Err(_))) {
                self.ended = true;
                return Poll::Ready(None);
            }
            match ready!(Scratch::lend(|scratch| self.poll_next(cx, scratch))) {
                Ok(Some(message)) => return Poll::Ready(Some(message)),
                Ok(None) => {}
                Err(_) => {
                    self.ended = true;
                    return Poll::Ready(None);
                }
            }
        }
    }

    /// One event of what has been read, or one more read.
    fn poll_next(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<Option<Message>>> {
        if self.decoder.has_pending() {
            return Poll::Ready(Ok(self.decode(&mut [], &mut scratch.codec)));
        }
        let mut first = std::mem::take(&mut self.first);
        if !first.is_empty() {
            return Poll::Ready(Ok(self.decode(&mut first, &mut scratch.codec)));
        }
        let mut buffer = ReadBuf::new(&mut scratch.read);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
        let bytes = buffer.filled_mut();
        if bytes.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        Poll::Ready(Ok(self.decode(bytes, &mut scratch.codec)))
    }

    /// Decodes at most one message: what is behind it stays with the decoder.
    fn decode(&mut self, bytes: &mut [u8], codec: &mut ws::Scratch) -> Option<Message> {
        let mut answers = Vec::new();
        let mut close = None;
        let mut message = None;
        let mut input = self.decoder.feed(bytes, codec);
        while message.is_none() && close.is_none() {
            match input.next() {
                Some(Ok(Event::Text(text))) => message = Some(Message::Text(text.to_owned())),
                Some(Ok(Event::Binary(bytes))) => message = Some(Message::Binary(Bytes::copy_from_slice(bytes))),
                Some(Ok(Event::Ping(payload))) => ws::encode(Opcode::Pong, payload, &mut answers),
                Some(Ok(Event::Pong(_))) => {}
                Some(Ok(Event::Close(frame))) => close = Some((frame.map(|frame| frame.code), String::new())),
                Some(Err(error)) => close = Some((Some(error.close_code()), error.to_string())),
                None => break,
            }
        }
        drop(input);
        self.out.extend_from_slice(&answers);
        self.ended |= close.is_some();
        match close {
            Some((Some(code), reason)) => self.queue_close(code, &reason),
            Some((None, _)) => self.out.extend_from_slice(&[0x88, 0]),
            None => {}
        }
        message
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.out))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(written);
        }
        self.out = BytesMut::new();
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// After the last frame: says that nothing more comes, and reads until the peer has gone, so that unread bytes
    /// do not make the kernel reset the connection before the peer has seen why.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if ready!(Pin::new(&mut self.io).poll_shutdown(cx)).is_err() {
            return Poll::Ready(());
        }
        Scratch::lend(|scratch| {
            loop {
                let mut buffer = ReadBuf::new(&mut scratch.read);
                let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer));
                if read.is_err() || buffer.filled().is_empty() {
                    return Poll::Ready(());
                }
            }
        })
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket").field("ended", &self.ended).finish_non_exhaustive()
    }
}
