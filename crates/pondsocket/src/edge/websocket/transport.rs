//! The frames that a client sends over its WebSocket.

use std::io;
use std::task::{Context, Poll, ready};

use pondsocket_proto::ws::{self, Decoder, Event, ProtocolError};

use crate::edge::connection::{ReadOutcome, Session, Transport};
use crate::engine::closing::{Close, Closure};
use crate::engine::handle::ConnectionHandle;
use crate::engine::socket::{Io, Scratch, Socket};
use crate::metrics::{CloseReason, Limit};

/// A WebSocket that carries a connection.
pub(crate) struct WebSocketTransport {
    socket: Socket,
    decoder: Decoder,
    /// True if the peer's close frame was received.
    peer_closed: bool,
    /// True if the peer broke the protocol. Later bytes are dropped unread.
    broken: bool,
}

impl WebSocketTransport {
    /// `first` are bytes that had been read before the connection was handed over.
    pub(crate) fn new(socket: Socket, mut first: Vec<u8>, mut decoder: Decoder) -> WebSocketTransport {
        if !first.is_empty() {
            // Fed without a look at the events: the decoder keeps the bytes until the first read.
            Scratch::lend(|scratch| drop(decoder.feed(&mut first, &mut scratch.codec)));
        }
        WebSocketTransport { socket, decoder, peer_closed: false, broken: false }
    }

    fn decode(
        &mut self,
        (bytes, codec): (&mut [u8], &mut ws::Scratch),
        cx: &mut Context<'_>,
        session: &mut Session,
        is_open: bool,
    ) -> ReadOutcome {
        let mut input = self.decoder.feed(bytes, codec);
        // When the queues are full, the other bytes stay with the decoder, and the socket is not read.
        while (!is_open || session.pause().is_none() && !session.must_pause())
            && let Some(event) = input.next()
        {
            match event {
                Ok(Event::Text(text)) if is_open => session.on_text(text, cx),
                Ok(Event::Binary(bytes)) if is_open => session.on_binary(bytes, cx),
                Ok(Event::Ping(payload)) => session.handle().send_pong(payload),
                Ok(Event::Close(frame)) => {
                    self.peer_closed = true;
                    let code = frame.map_or(1005, |frame| frame.code);
                    let closure = Closure { code, text: "".into(), reason: CloseReason::Client };
                    session.handle().close(Close::Answer(closure));
                }
                Ok(Event::Pong(payload)) => session.handle().receive_pong(payload),
                Ok(Event::Text(_) | Event::Binary(_)) => {}
                Err(error) => {
                    self.broken = true;
                    refuse(session.handle(), error);
                }
            }
        }
        if self.peer_closed || self.broken { ReadOutcome::Ending } else { ReadOutcome::Data }
    }
}

impl Transport for WebSocketTransport {
    const ANSWERS: bool = true;

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
        is_open: bool,
    ) -> Poll<io::Result<ReadOutcome>> {
        Scratch::lend(|scratch| {
            if self.decoder.has_pending() {
                return Poll::Ready(Ok(self.decode((&mut [], &mut scratch.codec), cx, session, is_open)));
            }
            let read = ready!(self.socket.poll_read(cx, &mut scratch.read))?;
            Poll::Ready(Ok(match read {
                0 => ReadOutcome::End,
                _ if self.broken => ReadOutcome::Data,
                read => self.decode((&mut scratch.read[..read], &mut scratch.codec), cx, session, is_open),
            }))
        })
    }

    fn as_writer(&mut self) -> Option<&mut dyn Io> {
        self.socket.as_writer()
    }

    fn buffered(&self) -> usize {
        self.decoder.buffered()
    }

    fn has_peer_closed(&self) -> bool {
        self.peer_closed
    }

    fn shut_down(&mut self, cx: &mut Context<'_>) {
        // The socket is read on, also if the shutdown is still pending.
        let _ = self.socket.poll_shutdown(cx);
    }

    fn close(&mut self) {
        self.socket = Socket::None;
        self.decoder.discard();
    }
}

/// Ends the connection of a peer that broke the WebSocket protocol, with a close frame that names the violation.
fn refuse(handle: &ConnectionHandle, error: ProtocolError) {
    let (code, text) = (error.close_code(), error.to_string());
    handle.count(|metrics, me| metrics.connection_error(me, &text));
    if matches!(error, ProtocolError::TooLarge { .. }) {
        handle.reached(Limit::MessageSize);
    }
    handle.close(Close::Violation(Closure { code, text: text.into(), reason: CloseReason::Protocol }));
}
