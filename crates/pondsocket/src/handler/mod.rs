//! Handlers: plain async functions that take a context and extractors.

pub(crate) mod dispatch;
pub(crate) mod guard;
pub(crate) mod pass;

use std::future::{Future, ready};
use std::marker::PhantomData;
use std::sync::Arc;

pub(crate) use crate::cluster::BoxFuture;
use crate::context::{Connected, ConnectionContext, EventContext, GapContext, JoinContext, Joined, LeaveContext};
use crate::delivery::Delivery;
use crate::error::Result;
use crate::extract::Extractors;
use crate::middleware::{Both, Layer, WithLayer};
use crate::pond::states::States;

/// The first argument of a handler: the request of a client to connect or to join, an event, a leave, or a gap.
pub trait Context: Send + Sync + Sized + 'static + sealed::Sealed {
    /// The result of the handler.
    type Answer: Send + 'static;
    #[doc(hidden)]
    fn states(&self) -> &States;
}

/// A context whose handler may pass the decision to the next one.
pub(crate) trait Passable: Context {
    /// The slot in which the code that runs the handler finds a context that was passed.
    type Handover: Send + Sync + Unpin + 'static;

    /// Returns the slot of this context, before a handler takes it.
    fn handover(&mut self) -> Self::Handover;

    /// Takes the context out of its slot, if its handler has passed it.
    fn take_passed(handover: &Self::Handover) -> Option<Self>;
}

pub(crate) mod sealed {
    pub trait Sealed {}
}

/// The return types of a handler of this context.
///
/// A connection handler returns `Result<Connected>` and a join handler `Result<Joined>`, so that one which never
/// decides does not compile. Event, leave and gap handlers return `()`, `Result<()>` or `Result<Delivery>`.
#[diagnostic::on_unimplemented(
    message = "a handler of `{C}` cannot return `{Self}`",
    note = "connection handlers return `Result<Connected>`, join handlers `Result<Joined>`, event and leave handlers \
            `()`, `Result<()>` or `Result<Delivery>`"
)]
pub trait IntoAnswer<C: Context> {
    #[doc(hidden)]
    fn into_answer(self) -> Result<C::Answer>;
}

impl IntoAnswer<ConnectionContext> for Result<Connected> {
    fn into_answer(self) -> Result<Connected> {
        self
    }
}

impl IntoAnswer<JoinContext> for Result<Joined> {
    fn into_answer(self) -> Result<Joined> {
        self
    }
}

macro_rules! answers {
    ($($context:ty),*) => {
        $(
            impl IntoAnswer<$context> for () {
                fn into_answer(self) -> Result<()> {
                    Ok(())
                }
            }

            impl IntoAnswer<$context> for Result<()> {
                fn into_answer(self) -> Result<()> {
                    self
                }
            }

            impl IntoAnswer<$context> for Result<Delivery> {
                fn into_answer(self) -> Result<()> {
                    self.map(drop)
                }
            }
        )*
    };
}

answers!(EventContext, LeaveContext, GapContext);

/// An async function or closure that takes the context, and optionally extractors after it (see
/// [`extract`](crate::extract)). `M` is a marker, made of the extractors.
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
            `()`, `Result<()>` or `Result<Delivery>`"
)]
pub trait Handler<C: Context, M>: Send + Sync + 'static {
    /// Checks once, at registration, that everything that the extractors need is there.
    #[doc(hidden)]
    fn prepare(states: &States);
    #[doc(hidden)]
    fn call(&self, ctx: C) -> BoxFuture<'static, Result<C::Answer>>;

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

/// A handler whose type is erased, so that handlers of different types can be in one list.
pub(crate) type Erased<C> = Arc<dyn Fn(C) -> BoxFuture<'static, Result<<C as Context>::Answer>> + Send + Sync>;

/// Checks that everything that a handler needs is there, and erases its type.
pub(crate) fn erase<C: Context, M, H: Handler<C, M>>(handler: H, states: &States) -> Erased<C> {
    H::prepare(states);
    Arc::new(move |ctx| handler.call(ctx))
}

/// A function or closure that takes a context and extractors, with any return type. It is a trait of its own, so that
/// the compiler selects the implementation by the arguments alone, and its errors name what is missing for `Handler`.
#[doc(hidden)]
pub trait HandlerFn<C, M>: Send + Sync + 'static {
    type Future: Future;
    fn invoke(&self, ctx: C, extracted: M) -> Self::Future;
}

/// Marks the shape of a plain handler or layer; `M` is the tuple of its extractors.
#[doc(hidden)]
#[derive(Debug)]
pub struct Plain<M>(PhantomData<fn() -> M>);

impl<F, C, M> Handler<C, Plain<M>> for F
where
    F: HandlerFn<C, M, Future: Send + 'static>,
    <F::Future as Future>::Output: IntoAnswer<C>,
    M: Extractors<C>,
    C: Context,
{
    fn prepare(states: &States) {
        M::prepare(states);
    }

    fn call(&self, ctx: C) -> BoxFuture<'static, Result<C::Answer>> {
        // Extracted before the handler is called, so that it is called only with valid values.
        match M::extract(&ctx) {
            Ok(extracted) => {
                let answer = self.invoke(ctx, extracted);
                Box::pin(async move { answer.await.into_answer() })
            }
            Err(error) => Box::pin(ready(Err(error))),
        }
    }
}

macro_rules! handlers {
    ($($extractor:ident),*) => {
        impl<F, Fut, C, $($extractor,)*> HandlerFn<C, ($($extractor,)*)> for F
        where
            F: Fn(C, $($extractor),*) -> Fut + Send + Sync + 'static,
            Fut: Future,
        {
            type Future = Fut;

            #[allow(non_snake_case, reason = "the macro names each extracted value by its type")]
            fn invoke(&self, ctx: C, ($($extractor,)*): ($($extractor,)*)) -> Fut {
                self(ctx, $($extractor),*)
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
