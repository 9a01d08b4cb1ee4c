//! Handlers: plain async functions, of any shape that the traits here allow.

pub(crate) mod dispatch;
pub(crate) mod guard;

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use crate::context::{Connected, ConnectionContext, EventContext, JoinContext, Joined, LeaveContext};
use crate::delivery::Delivery;
use crate::error::Result;
use crate::extract::Extract;
use crate::middleware::{Both, Layer, WithLayer};
use crate::pond::states::States;

/// A future on the heap, as handlers are run.
pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a handler is called with: a connection that asks to come in, a join, an event, or a leave.
pub trait Context: Send + Sync + Sized + 'static + sealed::Sealed {
    /// What the handler decides.
    type Answer: Send + 'static;
    #[doc(hidden)]
    fn states(&self) -> &States;
}

pub(crate) mod sealed {
    pub trait Sealed {}
}

/// What a handler may return for this context.
///
/// A connection handler returns `Result<Connected>` and a join handler `Result<Joined>`, so that one which never
/// decides does not compile. Event and leave handlers return `()`, `Result<()>` or `Result<Delivery>`.
pub trait Outcome<C: Context> {
    #[doc(hidden)]
    fn into_answer(self) -> Result<C::Answer>;
}

impl Outcome<ConnectionContext> for Result<Connected> {
    fn into_answer(self) -> Result<Connected> {
        self
    }
}

impl Outcome<JoinContext> for Result<Joined> {
    fn into_answer(self) -> Result<Joined> {
        self
    }
}

macro_rules! outcomes {
    ($($context:ty),*) => {
        $(
            impl Outcome<$context> for () {
                fn into_answer(self) -> Result<()> {
                    Ok(())
                }
            }

            impl Outcome<$context> for Result<()> {
                fn into_answer(self) -> Result<()> {
                    self
                }
            }

            impl Outcome<$context> for Result<Delivery> {
                fn into_answer(self) -> Result<()> {
                    self.map(drop)
                }
            }
        )*
    };
}

outcomes!(EventContext, LeaveContext);

/// An async function or closure that takes the context, and optionally extractors after it (see
/// [`extract`](crate::extract)). `M` is a marker, the tuple of the extractors.
///
/// ```
/// # use pondsocket::{EventContext, Payload, Result};
/// # #[derive(serde::Deserialize, serde::Serialize)] struct Message { text: String }
/// async fn message(ctx: EventContext, Payload(message): Payload<Message>) -> Result<()> {
///     ctx.broadcast("message", &message)?;
///     Ok(())
/// }
/// # fn check<M>(_: impl pondsocket::Handler<EventContext, M>) {}
/// # check(message);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler of `{C}`",
    note = "a handler is an async function or closure that takes `{C}` first, then up to five extractors which that \
            context has, and whose future is `Send`",
    note = "connection handlers return `Result<Connected>`, join handlers `Result<Joined>`, event and leave handlers \
            `()`, `Result<()>` or `Result<Delivery>`",
    note = "what is within `Payload`, `Params`, `Query`, `Assigns` and `Presence` implements `serde::Deserialize`, and what \
            is within `State` is `Clone`",
    note = "if none of this is the cause, a value that is not `Send` may live across an `.await`: the compiler names it if a \
            closure is registered that calls the function, as in `async |ctx: {C}| handler(ctx).await`"
)]
pub trait Handler<C: Context, M>: Send + Sync + 'static {
    /// Checks once, at registration, that what the extractors need is there.
    #[doc(hidden)]
    fn prepare(states: &States);
    #[doc(hidden)]
    fn call(&self, ctx: C) -> BoxFuture<Result<C::Answer>>;

    /// Puts a layer around this handler alone (see [`middleware`](crate::middleware)).
    ///
    /// ```
    /// # use pondsocket::{EventContext, Handler, Lobby, Next, Result};
    /// # fn register(lobby: &Lobby) {
    /// async fn message(ctx: EventContext) -> Result<()> {
    ///     ctx.reply("message", &())
    /// }
    /// async fn quietly(ctx: EventContext, next: Next<EventContext>) -> Result<()> {
    ///     next.run(ctx).await.or_else(|error| if error.is_pass() { Err(error) } else { Ok(()) })
    /// }
    /// lobby.on_event("message", message.layer(quietly));
    /// # }
    /// ```
    fn layer<L, LM>(self, layer: L) -> WithLayer<Self, L, Both<M, LM>>
    where
        Self: Sized,
        L: Layer<C, LM>,
    {
        WithLayer::new(self, layer)
    }
}

/// A handler of any shape.
pub(crate) type Erased<C> = Arc<dyn Fn(C) -> BoxFuture<Result<<C as Context>::Answer>> + Send + Sync>;

/// Checks a handler against what is there and forgets its shape.
pub(crate) fn erase<C: Context, M, H: Handler<C, M>>(handler: H, states: &States) -> Erased<C> {
    H::prepare(states);
    Arc::new(move |ctx| handler.call(ctx))
}

macro_rules! handlers {
    ($($extractor:ident),*) => {
        impl<F, Fut, C, $($extractor,)*> Handler<C, ($($extractor,)*)> for F
        where
            C: Context,
            F: Fn(C, $($extractor),*) -> Fut + Send + Sync + 'static,
            Fut: Future + Send + 'static,
            Fut::Output: Outcome<C>,
            $($extractor: Extract<C>,)*
        {
            fn prepare(_states: &States) {
                $($extractor::prepare(_states);)*
            }

            #[allow(non_snake_case, reason = "the macro names each extracted value by its type")]
            fn call(&self, ctx: C) -> BoxFuture<Result<C::Answer>> {
                $(
                    let $extractor = match $extractor::extract(&ctx) {
                        Ok(value) => value,
                        Err(error) => return Box::pin(ready(Err(error))),
                    };
                )*
                let answer = self(ctx, $($extractor),*);
                Box::pin(async move { answer.await.into_answer() })
            }
        }
    };
}

handlers!();
handlers!(A);
handlers!(A, B);
handlers!(A, B, D);
handlers!(A, B, D, E);
handlers!(A, B, D, E, G);
