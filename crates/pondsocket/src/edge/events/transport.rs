//! The two ends of an event stream: the transport of the connection's task, and the body that its host polls.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tokio::sync::mpsc;

use crate::edge::connection::{ReadOutcome, Session, Transport};
use crate::endpoint::EndpointInner;
use crate::engine::socket::Io;
use crate::engine::stream::{Post, Stream};

/// The transport of a connection over an event stream: the messages that the client posts. Those for the client are taken by
/// the [body](EventBody).
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

    /// Reads posted messages, also those from before the end of the client: their requests were answered with 202.
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
            Poll::Pending if !self.stream.is_closed() => Poll::Pending,
            Poll::Pending | Poll::Ready(None) if self.stream.was_deleted() => Poll::Ready(Ok(ReadOutcome::Closed)),
            Poll::Pending | Poll::Ready(None) => Poll::Ready(Ok(ReadOutcome::Gone)),
        }
    }

    fn as_writer(&mut self) -> Option<&mut dyn Io> {
        None
    }

    fn buffered(&self) -> usize {
        // Posted messages are counted by the requests that read them.
        0
    }

    fn has_peer_closed(&self) -> bool {
        true
    }

    fn shut_down(&mut self, _cx: &mut Context<'_>) {}

    fn close(&mut self) {
        self.endpoint.streams.remove(self.stream.secret);
        self.messages.close();
    }
}

/// The body of the response that is an event stream. It takes frames from the connection's outbox when its host has room,
/// and ends with the connection. The host drops it when the client has gone, which ends the connection.
#[derive(Debug)]
pub(crate) struct EventBody(pub(super) Arc<Stream>);

impl EventBody {
    /// The stream of this body.
    #[cfg(feature = "server")]
    pub(crate) fn stream(&self) -> &Arc<Stream> {
        &self.0
    }
}

impl HttpBody for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.handle.poll_take(cx).map(|taken| taken.map(|bytes| Ok(Frame::data(bytes))))
    }
}

impl Drop for EventBody {
    fn drop(&mut self) {
        self.0.close();
    }
}
