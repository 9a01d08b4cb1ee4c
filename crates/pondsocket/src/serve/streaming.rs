use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::engine::stream::Stream;
use crate::handler::BoxFuture;
use crate::limits::gauge::Permit;

/// An event stream that is the answer to a request: the socket is counted among those for as long as this is there.
pub(super) struct Streaming {
    ended: BoxFuture<()>,
    _permit: Permit,
}

impl Streaming {
    pub(super) fn new(stream: &Arc<Stream>, permit: Permit) -> Streaming {
        let stream = Arc::clone(stream);
        Streaming { ended: Box::pin(async move { stream.ended().await }), _permit: permit }
    }

    /// Completes when nothing more comes.
    pub(super) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.ended.as_mut().poll(cx)
    }
}

impl fmt::Debug for Streaming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streaming").finish_non_exhaustive()
    }
}
