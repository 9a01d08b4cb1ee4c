use std::future::{poll_fn, ready};
use std::task::Poll;

use pondsocket::cluster::BoxFuture;

/// Polls a future once, so that what it does first is done now, ahead of whatever is begun next. A request is handed to its
/// connection by its first poll.
pub(crate) async fn begun<T: Send + 'static>(mut future: BoxFuture<'static, T>) -> BoxFuture<'static, T> {
    match poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
        Poll::Ready(done) => Box::pin(ready(done)),
        Poll::Pending => future,
    }
}
