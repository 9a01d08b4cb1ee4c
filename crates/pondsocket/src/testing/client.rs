//! A connected client.

use std::sync::Arc;

use pondsocket_proto::wire::GATEWAY;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::connection::{ClientConnection, PendingCall};
use super::error::{Awaited, CallError, Failure};
use super::inbox::{Closed, End, Inbox};
use super::room::Room;

/// A connected client. A test may have several, also of one user, and each may join several channels.
///
/// The connection ends without a close frame when the client and all its rooms have been dropped, as when a browser is
/// killed; [`close`](Self::close) ends it with one.
#[derive(Debug)]
pub struct Client {
    id: String,
    /// The room of the messages that belong to the connection, not to a channel.
    gateway: Room,
    connection: Arc<ClientConnection>,
}

impl Client {
    pub(super) fn new(connection: ClientConnection, gateway: u64, id: String) -> Client {
        let connection = Arc::new(connection);
        let gateway = Room::new(&connection, GATEWAY, gateway);
        Client { id, gateway, connection }
    }

    /// The id that the server has given to the connection. It is also the user's id, unless the connection handler has set
    /// another one.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Sends a request to join a channel, and waits for the answer. The request is sent before the future is polled. The room
    /// has the messages that follow the acknowledgement.
    ///
    /// # Errors
    /// [`CallError::Rejected`] if the join is declined; [`CallError::Failed`] if there is no answer in time.
    ///
    /// # Panics
    /// If the payload cannot be serialised.
    #[track_caller]
    pub fn join(&self, channel: &str, payload: impl Serialize) -> impl Future<Output = Result<Room, CallError>> + Send {
        let awaited = Awaited::here(format!("the answer to joining `{channel}`"));
        let (call, mailbox) = PendingCall::join(&self.connection, channel);
        let room = Room::new(&self.connection, channel, mailbox);
        call.send("JOIN_CHANNEL", "JOIN_CHANNEL", channel, &payload);
        async move { call.answer(&awaited).await.map(|_| room) }
    }

    /// Waits for the next message of the connection, not of a channel, with this event name, and returns its payload: the
    /// replies of the connection handler.
    ///
    /// # Errors
    /// If there is none in time.
    #[track_caller]
    pub fn next(&mut self, event: &str) -> impl Future<Output = Result<Value, Failure>> + Send {
        self.gateway.next(event)
    }

    /// As [`next`](Self::next), with the payload decoded.
    ///
    /// # Errors
    /// If there is none in time, or it cannot be decoded as `T`.
    #[track_caller]
    pub fn next_as<T: DeserializeOwned>(&mut self, event: &str) -> impl Future<Output = Result<T, Failure>> + Send {
        self.gateway.next_as(event)
    }

    /// Sends a close frame with code 1000, behind the messages that were sent before. Does not wait for the end.
    #[track_caller]
    pub fn close(&self) {
        self.connection.close(1000);
    }

    /// Waits until the connection has ended, by either side.
    ///
    /// # Errors
    /// If it does not end in time, or ends with a protocol error.
    #[track_caller]
    pub fn closed(&self) -> impl Future<Output = Result<Closed, Failure>> + Send {
        let awaited = Awaited::here("the end of the connection");
        let closed = |inbox: &mut Inbox| match inbox.ended() {
            Some(End::Closed(closed)) => Some(closed.clone()),
            _ => None,
        };
        async move { self.connection.wait(&awaited, closed).await }
    }
}
