//! The contexts that handlers are called with.
//!
//! A connection and a join are answered by value: `accept()` consumes the context and produces the handler's return
//! value, so neither can be answered twice, and a handler that never decides does not compile.
//!
//! ```
//! use pondsocket::{Connected, ConnectionContext, Error, EventContext, JoinContext, Joined, Result};
//! use serde_json::{Value, json};
//!
//! async fn connect(ctx: ConnectionContext) -> Result<Connected> {
//!     let token = ctx.query("token").or(ctx.bearer_token()).ok_or(Error::unauthorized("who are you?"))?.to_owned();
//!     Ok(ctx.accept().assign("token", &token))
//! }
//!
//! async fn join(ctx: JoinContext) -> Result<Joined> {
//!     let room = ctx.param("roomId")?.to_owned();
//!     Ok(ctx.accept().track(&json!({ "room": room })).reply("welcome", &json!({ "room": room })))
//! }
//!
//! async fn message(ctx: EventContext) -> Result<()> {
//!     let payload: Value = ctx.payload()?;
//!     ctx.broadcast("message", &payload)?;
//!     Ok(())
//! }
//! # fn check<C: pondsocket::handler::Context, M>(_: impl pondsocket::Handler<C, M>) {}
//! # check(connect); check(join); check(message);
//! ```

mod connection;
mod event;
mod gap;
mod join;
mod leave;
mod outgoing;
mod recovery;
mod route;

pub use connection::{Connected, ConnectionContext};
pub use event::EventContext;
pub use gap::GapContext;
pub use join::{JoinContext, Joined};
pub use leave::{LeaveContext, LeaveReason};
pub use outgoing::{Outgoing, OutgoingContext, Replacement};

pub(crate) use event::{Call, ChannelMembership, EventMessage};
pub(crate) use gap::GapMessages;
pub(crate) use outgoing::OutgoingMessage;
pub(crate) use recovery::JoinHistory;
