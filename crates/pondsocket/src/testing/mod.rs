//! Clients in memory, for the tests of applications (feature `testing`).
//!
//! There is no port and no network; everything else is as in production: requests pass through hyper into your handlers, so
//! that authentication, origins and headers are tested, too, and frames through the same codec. Each received frame is checked
//! with the rules of the strictest PondSocket client.
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
//! let anonymous = chat().test_client().connect("/api/socket").await;
//! assert_eq!(anonymous.unwrap_err().code(), Some(401));
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
//! Under `#[tokio::test(start_paused = true)]` no wait takes any time: when all tasks are idle, the clock advances to the next
//! deadline. In real time [`assert_silence`](Room::assert_silence) takes the whole time of silence. Every wait has a deadline,
//! and the error of a missed one has the place in the test, the awaited event, and the messages received last.
//!
//! Clients connect with WebSockets, or [with event streams](Connector::over_events).
//!
//! [`bus::MemoryHub`] joins several servers in one process.

pub mod bus;
mod client;
mod clock;
mod connection;
mod connector;
mod error;
mod events;
mod inbox;
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
    /// A client in memory, for tests: see [`testing`](crate::testing). It is not connected yet.
    pub fn test_client(&self) -> Connector {
        Connector::new(self.service())
    }
}
