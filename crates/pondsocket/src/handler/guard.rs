//! Calls of the application's code. A panic in it fails that call alone.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::handler::BoxFuture;

/// Calls a handler, which may panic before it returns its future.
pub(crate) fn call<T: 'static>(
    handler: impl FnOnce() -> BoxFuture<'static, Result<T>>,
) -> BoxFuture<'static, Result<T>> {
    // The handler is consumed, so no broken state of it can be observed. Values that it shares are the application's to
    // guard.
    match catch_unwind(AssertUnwindSafe(handler)) {
        Ok(future) => future,
        Err(panic) => {
            let error = panicked(&*panic);
            Box::pin(async move { Err(error) })
        }
    }
}

/// Polls a handler. A panic becomes an internal error, whose text is only logged.
pub(crate) fn poll<T>(future: &mut BoxFuture<'static, Result<T>>, cx: &mut Context<'_>) -> Poll<Result<T>> {
    // A future that has panicked is dropped, never polled again: nothing can observe its broken state.
    catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)))
        .unwrap_or_else(|panic| Poll::Ready(Err(panicked(&*panic))))
}

/// Runs a handler to its end or its deadline, on a task that is no connection's. Returns the handler's result.
pub(crate) async fn run<T>(
    mut future: BoxFuture<'static, Result<T>>,
    deadline: Duration,
) -> Result<Result<T>, TimedOut> {
    tokio::time::timeout(deadline, poll_fn(|cx| poll(&mut future, cx))).await.map_err(|_elapsed| TimedOut)
}

/// The end of a handler that had not finished at its deadline. It is cancelled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimedOut;

#[diagnostic::do_not_recommend]
impl From<TimedOut> for Error {
    fn from(TimedOut: TimedOut) -> Error {
        Error::timeout("the handler took too long")
    }
}

pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Error {
    // `panic!` has a `&str` for a literal, and a `String` for a formatted text.
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    Error::internal(format!("a handler panicked: {text}"))
}
