//! The dispatch of a context to the handlers whose patterns match: a handler may pass the decision to the next one.

use std::future::ready;
use std::pin::Pin;
use std::task::{self, Poll, ready};

use crate::error::{Error, Result};
use crate::handler::guard;
use crate::handler::{BoxFuture, Context, Passable};

/// The outcome of one handler, with all layers around it.
pub(crate) enum HandlerOutcome<C: Passable> {
    Answered(C::Answer),
    /// The decision is passed to the next handler that matches, with the context as it is now.
    Passed(C),
    Failed(Error),
}

impl<C: Passable> HandlerOutcome<C> {
    /// The outcome for the return value of a handler or of the outermost layer around it. `Error::passed` is only a
    /// sign: a layer that replaces it by another result has decided, and the context is dropped with its slot. A sign
    /// without a context is an earlier one that a layer has kept: it counts as a failure with code 404.
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
    /// Calls the first handler that matches, beginning with the `from`-th; `Err` if there is none.
    fn start(&self, ctx: C, from: usize) -> Result<(usize, BoxFuture<'static, Result<C::Answer>>)>;

    /// The text of the pattern of a handler.
    fn pattern(&self, at: usize) -> Option<Box<str>>;
}

/// The dispatch of one context, from pattern to pattern.
pub(crate) struct Dispatch<C: Passable, R> {
    routes: R,
    at: usize,
    future: BoxFuture<'static, Result<C::Answer>>,
    handover: C::Handover,
}

impl<C: Passable, R: Routes<C>> Dispatch<C, R> {
    pub(crate) fn new(routes: R, mut ctx: C, from: usize) -> Self {
        // Taken before the handler gets the context, which it may never give back.
        let handover = ctx.handover();
        let (at, future) = start(&routes, ctx, from);
        Dispatch { routes, at, future, handover }
    }
}

/// Calls the first handler that matches. If none matches, the future returns the error of that.
fn start<C: Context, R: Routes<C>>(routes: &R, ctx: C, from: usize) -> (usize, BoxFuture<'static, Result<C::Answer>>) {
    // `usize::MAX` is no index of a pattern, so the error is attributed to none.
    routes.start(ctx, from).unwrap_or_else(|error| (usize::MAX, Box::pin(ready(Err(error)))))
}

impl<C: Passable, R: Routes<C> + Unpin> Future for Dispatch<C, R> {
    type Output = Result<C::Answer>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Result<C::Answer>> {
        let me = self.get_mut();
        loop {
            // Each handler is polled until it has ended with all layers around it. Only then is its return value final:
            // a layer may still replace the sign.
            let returned = ready!(guard::poll(&mut me.future, cx));
            match HandlerOutcome::<C>::of(returned, &me.handover) {
                HandlerOutcome::Answered(answer) => return Poll::Ready(Ok(answer)),
                HandlerOutcome::Failed(error) => return Poll::Ready(Err(error.of_pattern(me.routes.pattern(me.at)))),
                HandlerOutcome::Passed(mut ctx) => {
                    // A fresh slot for the next handler, so that a sign of the previous one cannot be taken for its
                    // own.
                    me.handover = ctx.handover();
                    (me.at, me.future) = start(&me.routes, ctx, me.at + 1);
                }
            }
        }
    }
}

/// A running handler. Without layers there is no second box around it.
pub(crate) enum HandlerFuture<C: Passable, R> {
    Direct(Dispatch<C, R>),
    Layered(BoxFuture<'static, Result<C::Answer>>),
}

impl<C: Passable, R: Routes<C> + Unpin> HandlerFuture<C, R> {
    /// Polls the handler. A panic becomes an error.
    pub(crate) fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<C::Answer>> {
        match self {
            HandlerFuture::Direct(dispatch) => Pin::new(dispatch).poll(cx),
            HandlerFuture::Layered(future) => guard::poll(future, cx),
        }
    }
}
