use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};

use crate::engine::stream::Stream;

/// The body of the answer that is an event stream. It takes from the connection's outbox whenever its host has room, and
/// ends with the connection. The connection ends with it: that the host drops it says that the client has gone.
#[derive(Debug)]
pub(crate) struct EventBody(pub(super) Arc<Stream>);

impl EventBody {
    /// The stream it carries.
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
        self.0.hang_up();
    }
}
