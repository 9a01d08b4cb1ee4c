use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::pending::Pool;
use crate::engine::stream::Stream;
use crate::handler::BoxFuture;

/// An event stream that is the answer to a request: the socket is counted among those for as long as this is there.
pub(super) struct Streaming {
    ended: BoxFuture<()>,
    pool: Arc<Pool>,
}

impl Streaming {
    pub(super) fn new(stream: &Arc<Stream>, pool: &Arc<Pool>) -> Streaming {
        let stream = Arc::clone(stream);
        pool.count_stream(true);
        Streaming { ended: Box::pin(async move { stream.ended().await }), pool: Arc::clone(pool) }
    }

    /// Completes when nothing more comes.
    pub(super) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.ended.as_mut().poll(cx)
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.pool.count_stream(false);
    }
}

impl fmt::Debug for Streaming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streaming").finish_non_exhaustive()
    }
}
