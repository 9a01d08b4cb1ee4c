//! Extractors: the values that a handler can take after its context.
//!
//! ```
//! use pondsocket::{EventContext, Params, Payload, Result, State};
//! # #[derive(Clone)] struct Db;
//! # #[derive(serde::Deserialize)] struct Room { #[serde(rename = "roomId")] room_id: u32 }
//! # #[derive(serde::Deserialize, serde::Serialize)] struct Message { text: String }
//!
//! async fn message(
//!     ctx: EventContext,
//!     Payload(message): Payload<Message>,
//!     State(_db): State<Db>,
//! ) -> Result<()> {
//!     ctx.broadcast("message", &message)?;
//!     Ok(())
//! }
//! # fn check<M>(_: impl pondsocket::Handler<EventContext, M>) {}
//! # check(message);
//! # fn params(_: Params<Room>) {}
//! ```
//!
//! An extractor that fails answers the client with 400 and names the field in `details.field`; the handler is not
//! called. [`Assigns`] and [`Presence`] read values that the server itself has stored: they fail with 500.
//!
//! A struct is a JSON object here, at any depth: an array of its values in their order, which serde takes elsewhere, is
//! refused. Only a struct within an `#[serde(untagged)]` enum still takes one, since serde buffers such values by
//! itself.
//!
//! A payload that is read as any value (`Payload<Value>`) may be an array, a number or a text. Sending it on as it is
//! then fails with 400, since the client has chosen it; any other value that is no JSON object fails with 500.

use serde::de::DeserializeOwned;

use crate::context::{ConnectionContext, EventContext, GapContext, JoinContext, LeaveContext, OutgoingContext};
use crate::error::{Error, InCall, Result};
use crate::handler::Context;
use crate::pond::states::States;

/// A value that can be extracted from a context.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be extracted from `{C}`",
    note = "extractors are `Payload`, `Params`, `Query`, `Assigns`, `Presence` and `State`, each where the context has such a thing"
)]
pub trait Extract<C: Context>: Sized + Send + 'static {
    /// Called once when a handler is registered. Panics if something that the extractor needs is missing.
    fn prepare(states: &States) {
        // Most extractors need nothing.
        let _ = states;
    }

    /// Extracts the value.
    ///
    /// # Errors
    /// The client receives the error, and the handler is not called.
    fn extract(ctx: &C) -> Result<Self>;
}

/// The extractors of a handler.
#[doc(hidden)]
pub trait Extractors<C: Context>: Sized + Send + 'static {
    fn prepare(states: &States);
    fn extract(ctx: &C) -> Result<Self>;
}

macro_rules! tuples {
    ($($extractor:ident),*) => {
        impl<C: Context, $($extractor: Extract<C>),*> Extractors<C> for ($($extractor,)*) {
            fn prepare(_states: &States) {
                $($extractor::prepare(_states);)*
            }

            fn extract(_ctx: &C) -> Result<Self> {
                Ok(($($extractor::extract(_ctx)?,)*))
            }
        }
    };
}

// The letters `C` and `F` are left out, because they are the context and the function where handlers are implemented.
tuples!();
tuples!(A);
tuples!(A, B);
tuples!(A, B, D);
tuples!(A, B, D, E);
tuples!(A, B, D, E, G);

/// The payload of a join or an event.
#[derive(Clone, Copy, Debug)]
pub struct Payload<T>(pub T);

/// The parameters of the pattern of the endpoint or the channel. For events and outgoing messages the parameters of the
/// event's and the channel's pattern together.
#[derive(Clone, Copy, Debug)]
pub struct Params<T>(pub T);

/// The query of the connection's URL or of the channel's name. For events and outgoing messages it is the query of the
/// event's name, with those keys of the channel's query that it does not have. A repeated key gives a list.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

/// All assigns: of the connection in a join handler, of the member in event and leave handlers.
#[derive(Clone, Copy, Debug)]
pub struct Assigns<T>(pub T);

/// The member's own presence. Fails with 404 if the member is not tracked.
#[derive(Clone, Copy, Debug)]
pub struct Presence<T>(pub T);

/// A clone of the value that was passed to [`PondSocket::state`](crate::PondSocket::state).
#[derive(Clone, Copy, Debug)]
pub struct State<S>(pub S);

impl<C: Context, S: Clone + Send + Sync + 'static> Extract<C> for State<S> {
    fn prepare(states: &States) {
        states.require::<S>();
    }

    fn extract(ctx: &C) -> Result<Self> {
        ctx.states()
            .get::<S>()
            .cloned()
            .map(State)
            // Not reached: `prepare` has panicked at registration if the state is missing.
            .ok_or_else(|| Error::internal("the state was checked at registration"))
    }
}

macro_rules! extractors {
    ($($extractor:ident: $method:ident of $($context:ty),*;)*) => {
        $($(
            impl<T: DeserializeOwned + Send + 'static> Extract<$context> for $extractor<T> {
                fn extract(ctx: &$context) -> Result<Self> {
                    ctx.$method().map($extractor).in_call(stringify!($extractor))
                }
            }
        )*)*
    };
}

extractors! {
    Payload: payload of JoinContext, EventContext, OutgoingContext;
    Params: params of ConnectionContext, JoinContext, EventContext, LeaveContext, GapContext, OutgoingContext;
    Query: query_as of ConnectionContext, JoinContext, EventContext, LeaveContext, GapContext, OutgoingContext;
    Assigns: assigns of JoinContext, EventContext, LeaveContext;
    Presence: presence of EventContext, LeaveContext;
}
