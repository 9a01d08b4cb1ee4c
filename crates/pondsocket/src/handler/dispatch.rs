//! From pattern to pattern: a handler may leave the decision to the next one that matches.

use std::future::ready;
use std::pin::Pin;
use std::task::{self, Poll, ready};

use crate::error::{Error, Result};
use crate::handler::guard;
use crate::handler::{BoxFuture, Context};

/// Handlers by pattern, in the order of their registration.
pub(crate) trait Routes<C: Context>: Send + Sync + 'static {
    /// Calls the first handler that matches, of those from the `from`-th on; `Err` if there is none.
    fn start(&self, ctx: C, from: usize) -> Result<(usize, BoxFuture<Result<C::Answer>>)>;

    /// The text of the pattern of a handler.
    fn pattern(&self, at: usize) -> Option<Box<str>>;
}

/// A context on its way through the patterns that match it.
pub(crate) struct Dispatch<C: Context, R> {
    routes: R,
    at: usize,
    future: BoxFuture<Result<C::Answer>>,
}

impl<C: Context, R: Routes<C>> Dispatch<C, R> {
    pub(crate) fn new(routes: R, ctx: C, from: usize) -> Self {
        let (at, future) = started(routes.start(ctx, from));
        Dispatch { routes, at, future }
    }
}

impl<C: Context, R: Routes<C> + Unpin> Future for Dispatch<C, R> {
    type Output = Result<C::Answer>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Result<C::Answer>> {
        let me = self.get_mut();
        loop {
            let error = match ready!(guard::poll(&mut me.future, cx)) {
                Ok(answer) => return Poll::Ready(Ok(answer)),
                Err(error) => error,
            };
            match error.into_passed::<C>() {
                Ok(ctx) => (me.at, me.future) = started(me.routes.start(ctx, me.at + 1)),
                Err(error) => return Poll::Ready(Err(error.of_pattern(me.routes.pattern(me.at)))),
            }
        }
    }
}

fn started<T: Send + 'static>(start: Result<(usize, BoxFuture<Result<T>>), Error>) -> (usize, BoxFuture<Result<T>>) {
    start.unwrap_or_else(|error| (usize::MAX, Box::pin(ready(Err(error)))))
}

/// A handler that runs: where no layer is registered, without one more box around it.
pub(crate) enum HandlerFuture<C: Context, R> {
    Direct(Dispatch<C, R>),
    Layered(BoxFuture<Result<C::Answer>>),
}

impl<C: Context, R: Routes<C> + Unpin> HandlerFuture<C, R> {
    /// Polls it. A panic is an answer.
    pub(crate) fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<C::Answer>> {
        match self {
            HandlerFuture::Direct(dispatch) => Pin::new(dispatch).poll(cx),
            HandlerFuture::Layered(future) => guard::poll(future, cx),
        }
    }
}
