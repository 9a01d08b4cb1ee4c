//! Layers around handlers: async functions that take the context, optionally extractors, and [`Next`].
//!
//! ```
//! use std::time::Instant;
//!
//! use pondsocket::{EventContext, Error, Next, Result};
//!
//! /// Times every event, and refuses guests.
//! async fn timed(ctx: EventContext, next: Next<EventContext>) -> Result<()> {
//!     if ctx.user_id() == "guest" {
//!         return Err(Error::forbidden("sign in first"));
//!     }
//!     let (event, start) = (ctx.event().to_owned(), Instant::now());
//!     let answer = next.run(ctx).await;
//!     println!("{event}: {:?}", start.elapsed());
//!     answer
//! }
//! # fn check<M>(_: impl pondsocket::middleware::Layer<EventContext, M>) {}
//! # check(timed);
//! ```
//!
//! A layer that does not call `next` decides by itself. A failure or a panic inside of it comes back as an `Err`, which
//! the layer may replace. Layers run in the order of their registration: first those of the endpoint, then those of the
//! lobby, then those of one handler:
//!
//! | around | endpoint-wide | lobby-wide | one handler |
//! |---|---|---|---|
//! | connections | [`Endpoint::layer`](crate::Endpoint::layer) | | [`Handler::layer`] |
//! | joins | [`Endpoint::layer_joins`](crate::Endpoint::layer_joins) | [`Lobby::layer_join`](crate::Lobby::layer_join) | the same |
//! | events | [`Endpoint::layer_events`](crate::Endpoint::layer_events) | [`Lobby::layer`](crate::Lobby::layer) | the same |
//! | leaves | [`Endpoint::layer_leaves`](crate::Endpoint::layer_leaves) | [`Lobby::layer_leave`](crate::Lobby::layer_leave) | the same |
//! | outgoing messages | [`Endpoint::layer_outgoing`](crate::Endpoint::layer_outgoing) | [`Lobby::layer_outgoing`](crate::Lobby::layer_outgoing) | [`OutgoingHandler::layer`](crate::OutgoingHandler::layer) |
//!
//! Of several layers around one handler, `handler.layer(a).layer(b)`, the last one is the outermost.
//!
//! Layers around events see every message of the lobby, also one that no handler matches; those around leaves every
//! leave, also where no handler is registered. The parameters and the query that a layer sees are those of the channel,
//! and of the first event pattern that matches.
//!
//! If a handler passes the decision to the next pattern, the layers around that handler get an `Err` with code 404; a
//! layer that replaces it has decided. The layers of the endpoint around joins, and the layers of endpoint and lobby
//! around events, see only the final result.

use std::fmt;
use std::future::{Future, ready};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{self, Poll};

use crate::error::Result;
use crate::extract::Extractors;
use crate::handler::guard;
use crate::handler::{BoxFuture, Context, Erased, Handler, IntoAnswer, Plain};
use crate::pond::states::States;

/// The inside of a layer: the further layers, and the handler.
pub struct Next<C: Context>(Box<dyn FnOnce(C) -> BoxFuture<'static, Result<C::Answer>> + Send>);

impl<C: Context> Next<C> {
    /// Runs the further layers and the handler. A panic in them becomes an internal error.
    pub fn run(self, ctx: C) -> impl Future<Output = Result<C::Answer>> + Send + use<C> {
        Caught(guard::call(|| (self.0)(ctx)))
    }
}

impl<C: Context> fmt::Debug for Next<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Next")
    }
}

/// A future whose panics become errors.
struct Caught<T>(BoxFuture<'static, Result<T>>);

impl<T> Future for Caught<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Result<T>> {
        guard::poll(&mut self.0, cx)
    }
}

/// An async function or closure that takes the context, then up to five extractors (see
/// [`extract`](crate::extract)), then [`Next`]. `M` is a marker, made of the extractors.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a layer around handlers of `{C}`",
    note = "a layer is an async function or closure that takes `{C}` first, then up to five extractors which that \
            context has, and `Next<{C}>` last; its future is `Send`, and it returns what a handler returns"
)]
pub trait Layer<C: Context, M>: Send + Sync + 'static {
    /// Checks once, at registration, that everything that the extractors need is there.
    #[doc(hidden)]
    fn prepare(states: &States);
    #[doc(hidden)]
    fn call(&self, ctx: C, next: Next<C>) -> BoxFuture<'static, Result<C::Answer>>;
}

/// A function or closure with the arguments of a layer. It is a trait of its own for the same reason as
/// [`HandlerFn`](crate::handler::HandlerFn).
#[doc(hidden)]
pub trait LayerFn<C: Context, M>: Send + Sync + 'static {
    type Future: Future;
    fn invoke(&self, ctx: C, extracted: M, next: Next<C>) -> Self::Future;
}

impl<F, C, M> Layer<C, Plain<M>> for F
where
    F: LayerFn<C, M, Future: Send + 'static>,
    <F::Future as Future>::Output: IntoAnswer<C>,
    M: Extractors<C>,
    C: Context,
{
    fn prepare(states: &States) {
        M::prepare(states);
    }

    fn call(&self, ctx: C, next: Next<C>) -> BoxFuture<'static, Result<C::Answer>> {
        match M::extract(&ctx) {
            Ok(extracted) => {
                let answer = self.invoke(ctx, extracted, next);
                Box::pin(async move { answer.await.into_answer() })
            }
            Err(error) => Box::pin(ready(Err(error))),
        }
    }
}

macro_rules! layers {
    ($($extractor:ident),*) => {
        impl<F, Fut, C, $($extractor,)*> LayerFn<C, ($($extractor,)*)> for F
        where
            C: Context,
            F: Fn(C, $($extractor,)* Next<C>) -> Fut + Send + Sync + 'static,
            Fut: Future,
        {
            type Future = Fut;

            #[allow(non_snake_case, reason = "the macro names each extracted value by its type")]
            fn invoke(&self, ctx: C, ($($extractor,)*): ($($extractor,)*), next: Next<C>) -> Fut {
                self(ctx, $($extractor,)* next)
            }
        }
    };
}

layers!();
layers!(A);
layers!(A, B);
layers!(A, B, D);
layers!(A, B, D, E);
layers!(A, B, D, E, G);

/// A handler with a layer around it alone, made by [`Handler::layer`].
pub struct WithLayer<H, L, M> {
    handler: Arc<H>,
    layer: Arc<L>,
    markers: PhantomData<fn() -> M>,
}

impl<H, L, M> WithLayer<H, L, M> {
    pub(crate) fn new(handler: H, layer: L) -> Self {
        WithLayer { handler: Arc::new(handler), layer: Arc::new(layer), markers: PhantomData }
    }
}

impl<H, L, M> fmt::Debug for WithLayer<H, L, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WithLayer")
    }
}

/// The marker of a handler with a layer, which differs from that of a plain handler.
#[doc(hidden)]
#[derive(Debug)]
pub struct Both<A, B>(PhantomData<fn() -> (A, B)>);

#[diagnostic::do_not_recommend]
impl<C, H, L, A, B> Handler<C, Both<A, B>> for WithLayer<H, L, Both<A, B>>
where
    C: Context,
    H: Handler<C, A>,
    L: Layer<C, B>,
    A: 'static,
    B: 'static,
{
    fn prepare(states: &States) {
        H::prepare(states);
        L::prepare(states);
    }

    fn call(&self, ctx: C) -> BoxFuture<'static, Result<C::Answer>> {
        // The future owns a reference, because it must not borrow from the handler.
        let handler = Arc::clone(&self.handler);
        self.layer.call(ctx, Next(Box::new(move |ctx| handler.call(ctx))))
    }
}

/// A layer whose type is erased.
type ErasedLayer<C> = Arc<dyn Fn(C, Next<C>) -> BoxFuture<'static, Result<<C as Context>::Answer>> + Send + Sync>;

/// Layers around one kind of handler, in the order of their registration. More can be registered at any time.
pub(crate) struct LayerStack<C: Context> {
    layers: RwLock<Arc<[ErasedLayer<C>]>>,
    /// Set once there is one. Until then no lock is taken to find that out, which every message would do.
    is_used: AtomicBool,
}

impl<C: Context> LayerStack<C> {
    pub(crate) fn push<M>(&self, layer: impl Layer<C, M>, states: &States) {
        prepare(&layer, states);
        let layer: ErasedLayer<C> = Arc::new(move |ctx, next| layer.call(ctx, next));
        // A new list, because running calls share the old one and continue with the layers that they began with.
        // Registrations are rare, and calls only clone an `Arc`.
        let mut layers = self.layers.write().unwrap_or_else(PoisonError::into_inner);
        *layers = layers.iter().cloned().chain([layer]).collect();
        // Behind the insertion. A message on another thread may still miss both; it counts as sent before the registration.
        self.is_used.store(true, Ordering::Relaxed);
    }

    /// The handler with all layers around it. It is composed for each call, because layers can be registered at any time.
    pub(crate) fn around(&self, handler: Erased<C>) -> Erased<C> {
        let layers = Arc::clone(&self.layers.read().unwrap_or_else(PoisonError::into_inner));
        let wrap = |inner: Erased<C>, layer: &ErasedLayer<C>| -> Erased<C> {
            let layer = Arc::clone(layer);
            Arc::new(move |ctx| {
                let inner = Arc::clone(&inner);
                layer(ctx, Next(Box::new(move |ctx| inner(ctx))))
            })
        };
        // From the inside to the outside, so that the layer that was registered first is the outermost.
        layers.iter().rev().fold(handler, wrap)
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.is_used.load(Ordering::Relaxed)
    }
}

fn prepare<C: Context, M, L: Layer<C, M>>(_: &L, states: &States) {
    L::prepare(states);
}

impl<C: Context> Default for LayerStack<C> {
    fn default() -> Self {
        LayerStack { layers: RwLock::new(Arc::from([])), is_used: AtomicBool::new(false) }
    }
}
