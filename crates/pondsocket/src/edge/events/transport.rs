use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::mpsc;

use crate::edge::connection::{ReadOutcome, Session, Transport};
use crate::endpoint::EndpointInner;
use crate::engine::socket::Io;
use crate::engine::stream::{Post, Stream};

/// An event stream that carries a connection, from the side of its task: what the client posts for it. What the task
/// has for the client is taken by the [body](super::EventBody).
pub(super) struct EventStreamTransport {
    endpoint: Arc<EndpointInner>,
    stream: Arc<Stream>,
    messages: mpsc::Receiver<Post>,
}

impl EventStreamTransport {
    pub(super) fn new(
        endpoint: Arc<EndpointInner>,
        stream: Arc<Stream>,
        messages: mpsc::Receiver<Post>,
    ) -> EventStreamTransport {
        EventStreamTransport { endpoint, stream, messages }
    }
}

impl Transport for EventStreamTransport {
    const ANSWERS: bool = false;

    /// Messages that were posted before the client went are read first: it has been promised.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
        is_open: bool,
    ) -> Poll<io::Result<ReadOutcome>> {
        match self.messages.poll_recv(cx) {
            Poll::Ready(Some(message)) => {
                if is_open {
                    session.on_binary(&message.bytes, cx);
                }
                Poll::Ready(Ok(ReadOutcome::Data))
            }
            Poll::Pending if !self.stream.has_gone() => Poll::Pending,
            Poll::Pending | Poll::Ready(None) => Poll::Ready(Ok(ReadOutcome::Closed)),
        }
    }

    fn as_writer(&mut self) -> Option<&mut dyn Io> {
        None
    }

    fn buffered(&self) -> usize {
        // What is posted is counted where it is read.
        0
    }

    fn is_free_to_go(&self) -> bool {
        true
    }

    fn shut_down(&mut self, _cx: &mut Context<'_>) {}

    fn close(&mut self) {
        self.endpoint.streams.remove(self.stream.secret);
        self.messages.close();
    }
}
