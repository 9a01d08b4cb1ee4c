//! Handlers that decide about each message for each recipient. They are plain functions, because delivery never waits.

use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::context::{Outgoing, OutgoingContext};
use crate::error::Result;
use crate::extract::Extractors;
use crate::handler::{Plain, guard};
use crate::middleware::Both;
use crate::pond::states::States;

/// A function or closure that takes `&OutgoingContext`, and optionally extractors after it, and answers with
/// [`Outgoing`] or `Result<Outgoing>`. `M` is a marker, made of the extractors.
///
/// An `Err`, or a panic, blocks the message for that recipient, is logged and counted.
///
/// ```
/// use pondsocket::{Lobby, Outgoing, OutgoingContext, Result};
/// use serde_json::{Value, json};
///
/// fn register(lobby: &Lobby) {
///     lobby.on_outgoing("secret", |ctx: &OutgoingContext| match ctx.recipient().assign::<String>("role").as_deref() {
///         Ok("admin") => Outgoing::Pass,
///         _ => Outgoing::Block,
///     });
///     lobby.on_outgoing("profile", without_address);
/// }
///
/// fn without_address(ctx: &OutgoingContext) -> Result<Outgoing> {
///     let mut profile: Value = ctx.payload()?;
///     profile["address"] = Value::Null;
///     Outgoing::replace(&profile)
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an outgoing handler",
    note = "an outgoing handler is a function or closure, not async, that takes `&OutgoingContext` first, then up to \
            three extractors, and returns `Outgoing` or `Result<Outgoing>`"
)]
pub trait OutgoingHandler<M>: Send + Sync + 'static {
    /// Checks once, at registration, that everything that the extractors need is there.
    #[doc(hidden)]
    fn prepare(states: &States);
    #[doc(hidden)]
    fn call(&self, ctx: &OutgoingContext) -> Result<Outgoing>;

    /// Puts a layer around this handler alone.
    fn layer<L, LM>(self, layer: L) -> OutgoingWithLayer<Self, L, Both<M, LM>>
    where
        Self: Sized,
        L: OutgoingLayer<LM>,
    {
        OutgoingWithLayer { handler: Arc::new(self), layer, markers: PhantomData }
    }
}

/// A function or closure that takes `&OutgoingContext`, optionally extractors, and [`OutgoingNext`] last: a layer
/// around outgoing handlers.
///
/// ```
/// use pondsocket::{Lobby, Outgoing, OutgoingContext, OutgoingNext, Result};
///
/// /// Sends nothing to bots.
/// fn people_only(ctx: &OutgoingContext, next: OutgoingNext) -> Result<Outgoing> {
///     if ctx.recipient().id().starts_with("bot-") { Ok(Outgoing::Block) } else { next.run(ctx) }
/// }
/// # fn register(lobby: &Lobby) { lobby.layer_outgoing(people_only); }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a layer around outgoing handlers",
    note = "such a layer is a function or closure, not async, that takes `&OutgoingContext` first, then up to three \
            extractors, and `OutgoingNext` last, and returns `Outgoing` or `Result<Outgoing>`"
)]
pub trait OutgoingLayer<M>: Send + Sync + 'static {
    #[doc(hidden)]
    fn prepare(states: &States);
    #[doc(hidden)]
    fn call(&self, ctx: &OutgoingContext, next: OutgoingNext) -> Result<Outgoing>;
}

/// The inside of a layer: the further layers, and the handler, if one matches the event.
#[derive(Clone)]
pub struct OutgoingNext {
    layers: Arc<[ErasedOutgoingLayer]>,
    at: usize,
    handler: Option<ErasedOutgoing>,
}

impl OutgoingNext {
    /// Runs the further layers and the handler. A panic in them becomes an internal error. Without a handler the
    /// message passes.
    ///
    /// # Errors
    /// The failure of a layer or of the handler.
    pub fn run(mut self, ctx: &OutgoingContext) -> Result<Outgoing> {
        // `self` is consumed, so no broken state can be observed after a panic. Caught here, in delivery, a panic
        // blocks one message for one recipient and does not end the delivery.
        let inside = AssertUnwindSafe(|| match (self.layers.get(self.at).cloned(), &self.handler) {
            // The next layer gets the rest of the list: it may run it, replace it, or not run it at all.
            (Some(layer), _) => {
                self.at += 1;
                layer(ctx, self)
            }
            (None, Some(handler)) => handler(ctx),
            (None, None) => Ok(Outgoing::Pass),
        });
        catch_unwind(inside).unwrap_or_else(|panic| Err(guard::panicked(&*panic)))
    }
}

impl fmt::Debug for OutgoingNext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OutgoingNext")
    }
}

/// An outgoing handler whose type is erased.
pub(crate) type ErasedOutgoing = Arc<dyn Fn(&OutgoingContext) -> Result<Outgoing> + Send + Sync>;

type ErasedOutgoingLayer = Arc<dyn Fn(&OutgoingContext, OutgoingNext) -> Result<Outgoing> + Send + Sync>;

/// Checks that everything that a handler needs is there, and erases its type.
pub(crate) fn erase<M, H: OutgoingHandler<M>>(handler: H, states: &States) -> ErasedOutgoing {
    H::prepare(states);
    Arc::new(move |ctx| handler.call(ctx))
}

/// Layers around outgoing handlers, in the order of their registration.
#[derive(Default)]
pub(crate) struct OutgoingStack {
    layers: RwLock<Vec<ErasedOutgoingLayer>>,
    /// Set once there is one. Until then no lock is taken to find that out, which every message would do.
    is_used: AtomicBool,
}

impl OutgoingStack {
    pub(crate) fn push<M, L: OutgoingLayer<M>>(&self, layer: L, states: &States) {
        L::prepare(states);
        let layer: ErasedOutgoingLayer = Arc::new(move |ctx, next| layer.call(ctx, next));
        self.layers.write().unwrap_or_else(PoisonError::into_inner).push(layer);
        // Behind the insertion. A message on another thread may still miss both; it counts as sent before the registration.
        self.is_used.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.is_used.load(Ordering::Relaxed)
    }

    /// The decision about a message: these layers, then those of `inner`, then the handler.
    pub(crate) fn around(&self, inner: &OutgoingStack, handler: Option<ErasedOutgoing>) -> OutgoingNext {
        // Cloned, so that no lock is held while the application's code runs.
        let outer = self.layers.read().unwrap_or_else(PoisonError::into_inner).clone();
        let inner = inner.layers.read().unwrap_or_else(PoisonError::into_inner).clone();
        OutgoingNext { layers: outer.into_iter().chain(inner).collect(), at: 0, handler }
    }
}

/// The return type of an outgoing handler: [`Outgoing`] or `Result<Outgoing>`.
#[diagnostic::on_unimplemented(
    message = "an outgoing handler cannot return `{Self}`",
    note = "an outgoing handler, and a layer around it, is not async, since delivery never waits, and returns `Outgoing` \
            or `Result<Outgoing>`"
)]
pub trait OutgoingOutcome {
    #[doc(hidden)]
    fn into_outgoing(self) -> Result<Outgoing>;
}

impl OutgoingOutcome for Outgoing {
    fn into_outgoing(self) -> Result<Outgoing> {
        Ok(self)
    }
}

impl OutgoingOutcome for Result<Outgoing> {
    fn into_outgoing(self) -> Result<Outgoing> {
        self
    }
}

/// A function or closure with the arguments of an outgoing handler. It is a trait of its own for the same reason as
/// [`HandlerFn`](crate::handler::HandlerFn).
#[doc(hidden)]
pub trait OutgoingFn<M>: Send + Sync + 'static {
    type Output;
    fn invoke(&self, ctx: &OutgoingContext, extracted: M) -> Self::Output;
}

/// A function or closure with the arguments of a layer around outgoing handlers.
#[doc(hidden)]
pub trait OutgoingLayerFn<M>: Send + Sync + 'static {
    type Output;
    fn invoke(&self, ctx: &OutgoingContext, extracted: M, next: OutgoingNext) -> Self::Output;
}

impl<F, M> OutgoingHandler<Plain<M>> for F
where
    F: OutgoingFn<M, Output: OutgoingOutcome>,
    M: Extractors<OutgoingContext>,
{
    fn prepare(states: &States) {
        M::prepare(states);
    }

    fn call(&self, ctx: &OutgoingContext) -> Result<Outgoing> {
        self.invoke(ctx, M::extract(ctx)?).into_outgoing()
    }
}

impl<F, M> OutgoingLayer<Plain<M>> for F
where
    F: OutgoingLayerFn<M, Output: OutgoingOutcome>,
    M: Extractors<OutgoingContext>,
{
    fn prepare(states: &States) {
        M::prepare(states);
    }

    fn call(&self, ctx: &OutgoingContext, next: OutgoingNext) -> Result<Outgoing> {
        self.invoke(ctx, M::extract(ctx)?, next).into_outgoing()
    }
}

macro_rules! outgoing {
    ($($extractor:ident),*) => {
        impl<F, O, $($extractor,)*> OutgoingFn<($($extractor,)*)> for F
        where
            F: Fn(&OutgoingContext, $($extractor),*) -> O + Send + Sync + 'static,
        {
            type Output = O;

            #[allow(non_snake_case, reason = "the macro names each extracted value by its type")]
            fn invoke(&self, ctx: &OutgoingContext, ($($extractor,)*): ($($extractor,)*)) -> O {
                self(ctx, $($extractor),*)
            }
        }

        impl<F, O, $($extractor,)*> OutgoingLayerFn<($($extractor,)*)> for F
        where
            F: Fn(&OutgoingContext, $($extractor,)* OutgoingNext) -> O + Send + Sync + 'static,
        {
            type Output = O;

            #[allow(non_snake_case, reason = "the macro names each extracted value by its type")]
            fn invoke(&self, ctx: &OutgoingContext, ($($extractor,)*): ($($extractor,)*), next: OutgoingNext) -> O {
                self(ctx, $($extractor,)* next)
            }
        }
    };
}

// Three extractors, as the diagnostics above say.
outgoing!();
outgoing!(A);
outgoing!(A, B);
outgoing!(A, B, C);

/// An outgoing handler with a layer around it alone, made by [`OutgoingHandler::layer`].
pub struct OutgoingWithLayer<H, L, M> {
    handler: Arc<H>,
    layer: L,
    markers: PhantomData<fn() -> M>,
}

impl<H, L, M> fmt::Debug for OutgoingWithLayer<H, L, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OutgoingWithLayer")
    }
}

#[diagnostic::do_not_recommend]
impl<H, L, A, B> OutgoingHandler<Both<A, B>> for OutgoingWithLayer<H, L, Both<A, B>>
where
    H: OutgoingHandler<A>,
    L: OutgoingLayer<B>,
    A: 'static,
    B: 'static,
{
    fn prepare(states: &States) {
        H::prepare(states);
        L::prepare(states);
    }

    fn call(&self, ctx: &OutgoingContext) -> Result<Outgoing> {
        let handler = Arc::clone(&self.handler);
        let handler: ErasedOutgoing = Arc::new(move |ctx| handler.call(ctx));
        self.layer.call(ctx, OutgoingNext { layers: Arc::from([]), at: 0, handler: Some(handler) })
    }
}
