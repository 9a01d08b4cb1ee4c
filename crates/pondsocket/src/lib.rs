//! A server for channel-based realtime communication: clients open a WebSocket or an event stream (SSE) to an
//! *endpoint*, which decides before that whether they may come in; they join *channels* by path, each join decided by your code; in a
//! channel they send events, get replies and broadcasts, see each other's *presence*, and carry *assigns*, values
//! that only the server sees. Every PondSocket client works with it.
//!
//! ```no_run
//! use pondsocket::{Connected, ConnectionContext, Error, EventContext, JoinContext, Joined, Payload, PondSocket, Result, Server};
//! use serde::{Deserialize, Serialize};
//! use serde_json::json;
//!
//! #[derive(Deserialize, Serialize)]
//! struct Message {
//!     text: String,
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<()> {
//!     let pond = PondSocket::new();
//!     let socket = pond.create_endpoint("/api/socket", connect);
//!     let lobby = socket.create_channel("/chat/:roomId", join);
//!     lobby.on_event("message", message);
//!     lobby.on_event("typing", async |ctx: EventContext| ctx.broadcast_from("typing", &json!({ "user": ctx.user_id() })));
//!     Server::new(pond).listen("127.0.0.1:8080").await
//! }
//!
//! async fn connect(ctx: ConnectionContext) -> Result<Connected> {
//!     let name = ctx.query("name").ok_or(Error::unauthorized("who are you?"))?.to_owned();
//!     Ok(ctx.accept().assign("name", &name))
//! }
//!
//! async fn join(ctx: JoinContext) -> Result<Joined> {
//!     let name: String = ctx.assign("name")?;
//!     let room = ctx.param("roomId")?.to_owned();
//!     Ok(ctx.accept().track(&json!({ "name": name })).reply("welcome", &json!({ "room": room })))
//! }
//!
//! async fn message(ctx: EventContext, Payload(message): Payload<Message>) -> Result<()> {
//!     ctx.broadcast("message", &message)?;
//!     Ok(())
//! }
//! ```
//!
//! # What it promises
//!
//! - Messages of one connection in one channel are handled one at a time, in the order of their arrival.
//! - Everything that the members of a channel receive has one order, the same for all of them, and each receives a
//!   contiguous part of it, from its acknowledgement to its leave.
//! - A slow, stalled or dead client delays nobody. A panic in a handler hurts only its call.
//! - A message that was received is handled, even if its sender goes meanwhile; memberships end at once.
//! - Whoever is closed by the server, also because it shuts down, gets what was sent to it before.
//! - No lock is held while your code runs: it may call anything from anywhere.
//!
//! # Where to find what
//!
//! | for | see |
//! |---|---|
//! | who may come in, join, send | [`ConnectionContext`], [`JoinContext`], [`EventContext`], [`LeaveContext`], in [`context`] |
//! | what handlers can take besides | [`extract`] |
//! | what runs around handlers | [`middleware`], [`RateLimit`] |
//! | deciding what each recipient gets | [`Lobby::on_outgoing`] |
//! | acting from outside of handlers | [`Endpoint::channel`], [`Channel`], [`Connection`] |
//! | limits and timeouts | [`Options`], [`EndpointOptions`] |
//! | being told of everything | [`hooks`], [`metrics`], [`snapshot`], and `tracing` |
//! | the end in good order | [`PondSocket::shutdown`] |
//! | several servers as one | [`cluster`] |
//! | mounting in another server | [`PondSocket::service`], [`PondSocket::layer`], [`PeerAddr`], [`HostUpgrade`] |
//! | a WebSocket without the protocol | [`PondSocket::create_websocket`] |
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `server` | yes | `Server`: ports and Unix sockets of its own (`Listener`), with timeouts, probes and a drain, until SIGINT or SIGTERM |
//! | `tls` | no | `Tls` for the `Server`, with [rustls](https://docs.rs/rustls), which is re-exported |
//! | `axum` | no | the full original path and the peer's address, mounted anywhere in an axum router |
//! | `testing` | no | `testing`: clients in memory, for the tests of what you build |
//!
//! The library installs no tracing subscriber, no allocator and no runtime of its own.

// What applications see, from the outside to the inside.
mod channel;
pub mod cluster;
pub mod context;
mod delivery;
mod endpoint;
mod error;
pub mod extract;
mod failure;
pub mod handler;
pub mod hooks;
mod lobby;
pub mod metrics;
pub mod middleware;
mod options;
pub mod outgoing;
mod pond;
mod rate_limit;
mod user;
mod websocket;

// Where sockets come in.
mod edge;
#[cfg(feature = "server")]
mod serve;
#[cfg(feature = "testing")]
pub mod testing;

// What everything stands on.
mod engine;
mod json;
mod limits;

pub use channel::{Channel, Lossy};
pub use context::{
    Connected, ConnectionContext, EventContext, JoinContext, Joined, LeaveContext, LeaveReason, Outgoing,
    OutgoingContext,
};
pub use delivery::{Delivery, Remote};
pub use edge::body::Body;
pub use edge::origin::ClientCertificate;
pub use edge::peer::PeerAddr;
pub use edge::service::{EitherBody, Layered, PondLayer, PondService};
pub use edge::websocket::HostUpgrade;
pub use endpoint::{Connection, Endpoint};
pub use error::{Error, Result};
pub use extract::{Assigns, Params, Payload, Presence, Query, State};
pub use handler::Handler;
pub use hooks::Hooks;
pub use lobby::Lobby;
pub use metrics::Metrics;
pub use middleware::Next;
pub use options::{CheckOrigin, EndpointOptions, Options};
pub use outgoing::{OutgoingHandler, OutgoingNext};
pub use pond::PondSocket;
pub use pond::shutdown::{Shutdown, ShutdownReport};
pub use pond::snapshot;
pub use pond::snapshot::Snapshot;
pub use pond::states::States;
#[doc(no_inline)]
pub use pondsocket_proto::channel::SlowClient;
pub use rate_limit::{Limited, RateLimit, Subject};
#[cfg(feature = "tls")]
#[doc(no_inline)]
pub use rustls;
#[cfg(feature = "tls")]
pub use serve::Tls;
#[cfg(feature = "server")]
pub use serve::{Listener, MetricsPage, Server, ServerOptions};
pub use user::User;
pub use websocket::{Message, WebSocket};
