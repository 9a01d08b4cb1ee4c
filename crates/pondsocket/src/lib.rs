//! A server for realtime communication in channels. Clients open a WebSocket or an event stream (SSE) to an *endpoint*, whose
//! handler accepts or declines them before the upgrade. They join *channels* by path, and a handler decides about each join. In
//! a channel they send events, receive replies and broadcasts, and see each other's *presence*; *assigns* are values of a member
//! that only the server sees. All PondSocket clients can be used.
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
//! # Guarantees
//!
//! - The messages of one connection in one channel are handled one at a time, in the order in which they were received.
//! - All members of a channel receive its messages in the same order, each a contiguous part, from its acknowledgement to its
//!   leave.
//! - A slow or dead client delays others only within the bounds of [`Options::pacing_wait`]. A panic in a handler fails only that
//!   call.
//! - A received message is handled, even if its sender disconnects meanwhile; memberships end at once, or after the presence
//!   grace of the lobby.
//! - In a lobby with a history a client that was away gets what it missed, in order, or it or the join handler is told of a gap:
//!   once, if the client brings its position; at least once, if it has a session.
//! - A client that the server closes, also at a shutdown, receives what was sent to it before.
//! - No lock is held while code of the application runs: it may call every method from everywhere.
//!
//! # Overview
//!
//! | subject | see |
//! |---|---|
//! | accepting connections and joins, handling events | [`ConnectionContext`], [`JoinContext`], [`EventContext`], [`LeaveContext`], [`GapContext`], in [`context`] |
//! | further arguments of handlers | [`extract`] |
//! | code around handlers | [`middleware`], [`RateLimit`] |
//! | messages for each recipient | [`Lobby::on_outgoing`] |
//! | calls from outside of handlers | [`Endpoint::channel`], [`Channel`], [`Connection`] |
//! | clients that were away | [`Lobby::history`] with [`History`], [`Connected::session`], [`JoinContext::recovery`], [`Lobby::presence_grace`], [`Options::history_file`] |
//! | limits and timeouts | [`Options`], [`EndpointOptions`] |
//! | observation | [`hooks`], [`metrics`], [`snapshot`], and `tracing` |
//! | graceful shutdown | [`PondSocket::shutdown`] |
//! | several nodes | [`cluster`] |
//! | mounting in another server | [`PondSocket::service`], [`PondSocket::layer`], [`PeerAddr`], [`HostUpgrade`] |
//! | raw WebSockets, without the protocol | [`PondSocket::create_websocket`] |
//!
//! # Features
//!
//! | feature | default | content |
//! |---|---|---|
//! | `server` | yes | `Server`: the standalone server on ports and Unix sockets (`Listener`), with timeouts, probes and a drain at SIGINT or SIGTERM |
//! | `tls` | no | `Tls` for the `Server`, with [rustls](https://docs.rs/rustls), which is re-exported |
//! | `axum` | no | the original path and the peer's address, mounted anywhere in an axum router |
//! | `testing` | no | `testing`: clients in memory, for the tests of applications |
//!
//! The library installs no tracing subscriber, no allocator and no runtime.

// The public API, from connections to messages.
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

// The edge: clients and their transports.
mod edge;
#[cfg(feature = "server")]
mod serve;
#[cfg(feature = "testing")]
pub mod testing;

// Delivery, and the parts that all others use.
mod engine;
mod json;
mod limits;

pub use channel::{Channel, KeptMessage, Lossy, Users};
pub use context::{
    Connected, ConnectionContext, EventContext, GapContext, JoinContext, Joined, LeaveContext, LeaveReason, Outgoing,
    OutgoingContext,
};
pub use delivery::{Delivery, Remote};
pub use edge::body::Body;
pub use edge::origin::ClientCertificate;
pub use edge::origin::PeerAddr;
pub use edge::service::{EitherBody, Layered, PondLayer, PondService};
pub use edge::websocket::HostUpgrade;
pub use endpoint::{Connection, Endpoint};
pub use error::{Error, Result};
pub use extract::{Assigns, Params, Payload, Presence, Query, State};
pub use handler::Handler;
pub use hooks::Hooks;
pub use lobby::{History, Lobby};
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
pub use pondsocket_proto::channel::{GapReason, Recovery, SlowClient, Unproven};
#[doc(no_inline)]
pub use pondsocket_proto::position::Position;
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
