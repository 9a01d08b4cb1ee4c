use std::sync::Arc;

use pondsocket_proto::wire::GATEWAY;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::call::Call;
use super::error::{Asked, CallError, Failure};
use super::inbox::{Closed, End, Inbox};
use super::line::Line;
use super::room::Room;

/// A connected client. Several may be connected at once, also as one user, and each may be in several channels.
///
/// The connection ends without a close frame when the client and its rooms have been dropped, as that of a browser
/// that is killed; [`close`](Self::close) ends it properly.
#[derive(Debug)]
pub struct Client {
    id: String,
    /// The mailbox for messages that concern the connection and no channel.
    gateway: Room,
    line: Arc<Line>,
}

impl Client {
    pub(super) fn new(line: Line, gateway: u64, id: String) -> Client {
        let line = Arc::new(line);
        let gateway = Room::new(&line, GATEWAY, gateway);
        Client { id, gateway, line }
    }

    /// The id that the server gave to the connection. It is the user's too, unless the endpoint names the user.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Asks to join a channel and waits for the verdict. It asks at once, also before the future is polled. The room
    /// begins with what comes behind the acknowledgement.
    ///
    /// # Errors
    /// What the server says when it declines.
    ///
    /// # Panics
    /// If the payload does not serialise.
    #[track_caller]
    pub fn join(&self, channel: &str, payload: impl Serialize) -> impl Future<Output = Result<Room, CallError>> + Send {
        let asked = Asked::here(format!("the verdict on joining `{channel}`"));
        let (call, mailbox) = Call::opening(&self.line, channel);
        let room = Room::new(&self.line, channel, mailbox);
        call.send("JOIN_CHANNEL", "JOIN_CHANNEL", channel, &payload);
        async move { call.answer(&asked).await.map(|_| room) }
    }

    /// The payload of the next message with this event name that comes for the connection and for no channel:
    /// what the endpoint's handler replied.
    ///
    /// # Errors
    /// If none comes.
    #[track_caller]
    pub fn next(&mut self, event: &str) -> impl Future<Output = Result<Value, Failure>> + Send {
        self.gateway.next(event)
    }

    /// The same, as a type of yours.
    ///
    /// # Errors
    /// If none comes, or it is not of the type.
    #[track_caller]
    pub fn next_as<T: DeserializeOwned>(&mut self, event: &str) -> impl Future<Output = Result<T, Failure>> + Send {
        self.gateway.next_as(event)
    }

    /// Begins to close the connection, with code 1000. What was sent before is sent.
    #[track_caller]
    pub fn close(&self) {
        self.line.close(1000);
    }

    /// Waits until the connection has ended, from whichever side.
    ///
    /// # Errors
    /// If it does not end, or in a way that a client would not understand.
    #[track_caller]
    pub fn closed(&self) -> impl Future<Output = Result<Closed, Failure>> + Send {
        let asked = Asked::here("the end of the connection");
        let closed = |inbox: &mut Inbox| match inbox.ended() {
            Some(End::Closed(closed)) => Some(closed.clone()),
            _ => None,
        };
        async move { self.line.wait(&asked, closed).await }
    }
}
