use std::future::{poll_fn, ready};
use std::task::Poll;

use pondsocket::cluster::BoxFuture;

/// Polls a future once, so that its first step runs before any later request starts.
///
/// The first poll of a request hands it to the connection, so requests are sent in the order of these calls, and the
/// caller can await the answers later.
pub(crate) async fn poll_once<T: Send + 'static>(mut future: BoxFuture<'static, T>) -> BoxFuture<'static, T> {
    match poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
        // A completed future must not be polled again.
        Poll::Ready(done) => Box::pin(ready(done)),
        Poll::Pending => future,
    }
}
