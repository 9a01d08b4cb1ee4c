//! What carries a connection.

use std::io;
use std::task::{Context, Poll};

use super::session::Session;
use crate::engine::socket::Io;

/// The client's end of a connection: a WebSocket, or an event stream with what is posted for it. The rest of the
/// connection does not know which.
pub(crate) trait Transport: Send + Unpin + 'static {
    /// Whether a client that is there answers what keeps the connection alive. If not, its silence means nothing.
    const ANSWERS: bool;

    /// Takes in what the client sends, once. What is a message goes to the session, as long as the connection is open.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
        is_open: bool,
    ) -> Poll<io::Result<ReadOutcome>>;

    /// What the connection's task writes to, if it is the one who writes.
    fn as_writer(&mut self) -> Option<&mut dyn Io>;

    /// Bytes of what has been read and is not handed to the session: parts of messages, and what is behind a pause.
    fn buffered(&self) -> usize;

    /// Whether the client can be left without waiting for its goodbye.
    fn is_free_to_go(&self) -> bool;

    /// Tells a client that breaks the protocol that nothing more comes.
    fn shut_down(&mut self, cx: &mut Context<'_>);

    /// Lets go of everything. It is not read any more.
    fn close(&mut self);
}

/// What reading has come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ReadOutcome {
    /// Something of the client.
    Data,
    /// It has broken the protocol, and has been told so.
    Violation,
    /// Nothing more comes.
    End,
}
