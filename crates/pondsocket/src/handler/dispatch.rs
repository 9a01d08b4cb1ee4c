//! From pattern to pattern: a handler may leave the decision to the next one that matches.

use std::future::ready;
use std::pin::Pin;
use std::task::{self, Poll, ready};

use crate::error::{Error, Result};
use crate::handler::guard;
use crate::handler::{BoxFuture, Context, Passable};

/// The outcome of one handler, with all layers around it.
pub(crate) enum HandlerOutcome<C: Passable> {
    Answered(C::Answer),
    /// The decision is left to the next handler that matches, with the context as it is now.
    Passed(C),
    Failed(Error),
}

impl<C: Passable> HandlerOutcome<C> {
    /// The outcome of what a handler, or the outermost layer around it, has returned. A layer that has made something else
    /// of the sign has decided: the context is dropped with its place then. A sign without a context is an old one, which a
    /// layer has kept: it is a failure of 404, as it looks.
    pub(crate) fn of(returned: Result<C::Answer>, handover: &C::Handover) -> HandlerOutcome<C> {
        match returned {
            Ok(answer) => HandlerOutcome::Answered(answer),
            Err(error) if error.is_pass() => match C::take_passed(handover) {
                Some(context) => HandlerOutcome::Passed(context),
                None => HandlerOutcome::Failed(error),
            },
            Err(error) => HandlerOutcome::Failed(error),
        }
    }
}

/// Handlers by pattern, in the order of their registration.
pub(crate) trait Routes<C: Context>: Send + Sync + 'static {
    /// Calls the first handler that matches, of those from the `from`-th on; `Err` if there is none.
    fn start(&self, ctx: C, from: usize) -> Result<(usize, BoxFuture<Result<C::Answer>>)>;

    /// The text of the pattern of a handler.
    fn pattern(&self, at: usize) -> Option<Box<str>>;
}

/// A context on its way through the patterns that match it.
pub(crate) struct Dispatch<C: Passable, R> {
    routes: R,
    at: usize,
    future: BoxFuture<Result<C::Answer>>,
    handover: C::Handover,
}

impl<C: Passable, R: Routes<C>> Dispatch<C, R> {
    pub(crate) fn new(routes: R, mut ctx: C, from: usize) -> Self {
        let handover = ctx.handover();
        let (at, future) = start(&routes, ctx, from);
        Dispatch { routes, at, future, handover }
    }
}

/// Calls the first handler that matches. The future of a context that none matches is its failure.
fn start<C: Context, R: Routes<C>>(routes: &R, ctx: C, from: usize) -> (usize, BoxFuture<Result<C::Answer>>) {
    routes.start(ctx, from).unwrap_or_else(|error| (usize::MAX, Box::pin(ready(Err(error)))))
}

impl<C: Passable, R: Routes<C> + Unpin> Future for Dispatch<C, R> {
    type Output = Result<C::Answer>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Result<C::Answer>> {
        let me = self.get_mut();
        loop {
            let returned = ready!(guard::poll(&mut me.future, cx));
            match HandlerOutcome::<C>::of(returned, &me.handover) {
                HandlerOutcome::Answered(answer) => return Poll::Ready(Ok(answer)),
                HandlerOutcome::Failed(error) => return Poll::Ready(Err(error.of_pattern(me.routes.pattern(me.at)))),
                HandlerOutcome::Passed(mut ctx) => {
                    me.handover = ctx.handover();
                    (me.at, me.future) = start(&me.routes, ctx, me.at + 1);
                }
            }
        }
    }
}

/// A handler that runs: where no layer is registered, without one more box around it.
pub(crate) enum HandlerFuture<C: Passable, R> {
    Direct(Dispatch<C, R>),
    Layered(BoxFuture<Result<C::Answer>>),
}

impl<C: Passable, R: Routes<C> + Unpin> HandlerFuture<C, R> {
    /// Polls it. A panic is an answer.
    pub(crate) fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<C::Answer>> {
        match self {
            HandlerFuture::Direct(dispatch) => Pin::new(dispatch).poll(cx),
            HandlerFuture::Layered(future) => guard::poll(future, cx),
        }
    }
}
