//! Clients in memory, for the tests of what you build with this crate (feature `testing`).
//!
//! There is no port and no network, but everything else is real: the request goes through hyper into your handlers, so
//! authentication, origins and headers are tested too, and the frames through the same codec as in production. Each
//! frame is checked as the strictest PondSocket client would.
//!
//! ```
//! # use pondsocket::{Connected, ConnectionContext, Error, JoinContext, Joined, PondSocket, Result};
//! # use pondsocket::testing::Change;
//! # use serde_json::json;
//! # async fn connect(ctx: ConnectionContext) -> Result<Connected> {
//! #     let name = ctx.query("name").ok_or(Error::unauthorized("who are you?"))?.to_owned();
//! #     Ok(ctx.accept().user_id(&name))
//! # }
//! # async fn join(ctx: JoinContext) -> Result<Joined> {
//! #     let name = ctx.user_id().to_owned();
//! #     Ok(ctx.accept().track(&json!({ "name": name })))
//! # }
//! # fn chat() -> PondSocket {
//! #     let pond = PondSocket::new();
//! #     pond.create_endpoint("/api/socket", connect).create_channel("/chat/:roomId", join);
//! #     pond
//! # }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let stranger = chat().test_client().connect("/api/socket").await;
//! assert_eq!(stranger.unwrap_err().code(), Some(401));
//!
//! let ada = chat().test_client().connect("/api/socket?name=ada").await?;
//! let mut room = ada.join("/chat/1", json!({})).await?;
//! let shown = room.next_presence().await?;
//! assert_eq!((shown.change, shown.user_id.as_str()), (Change::Join, "ada"));
//! assert_eq!(shown.changed["name"], "ada");
//! room.assert_silence().await;
//! # Ok(())
//! # }
//! ```
//!
//! Under `#[tokio::test(start_paused = true)]` no wait takes any time: once everything is idle, the clock jumps to the
//! next deadline. In real time it all works too, only [`assert_silence`](Room::assert_silence) lasts as long as it
//! listens. Whatever a test waits for has a deadline, and the error of one that was missed says where in the test
//! that was, what was awaited, and what came instead.
//!
//! Clients come over WebSockets, or [over event streams](Connector::over_events).
//!
//! Several servers are joined in one process by [`bus::MemoryHub`].

pub mod bus;
mod call;
mod client;
mod clock;
mod connector;
mod error;
mod events;
mod inbox;
mod line;
mod received;
mod room;

pub use client::Client;
pub(crate) use clock::clock_ahead;
pub use clock::with_clock_ahead;
pub use connector::Connector;
pub use error::{CallError, ConnectError, Failure, Refusal, Rejection};
pub use inbox::Closed;
pub use received::{Change, Kind, PresenceChange, Received};
pub use room::Room;

use crate::pond::PondSocket;

impl PondSocket {
    /// A client in memory, for tests: see [`testing`](crate::testing).
    pub fn test_client(&self) -> Connector {
        Connector::new(self.service())
    }
}
