//! A channel that a client has joined.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::connection::{ClientConnection, PendingCall};
use super::error::{Awaited, CallError, Failure};
use super::received::{PresenceChange, Received};

/// A channel that a client has joined. It has the messages of the channel in their order, from the acknowledgement of the join
/// until the room is dropped. Each room has its own copies, even if a client has several rooms of one channel.
///
/// A wait for a certain message leaves those before it unread, for later waits.
#[derive(Debug)]
pub struct Room {
    connection: Arc<ClientConnection>,
    channel: String,
    mailbox: u64,
}

impl Room {
    pub(super) fn new(connection: &Arc<ClientConnection>, channel: &str, mailbox: u64) -> Room {
        Room { connection: Arc::clone(connection), channel: channel.to_owned(), mailbox }
    }

    /// The channel's name, as given to the join.
    pub fn name(&self) -> &str {
        &self.channel
    }

    /// Queues a message without waiting. A reply to it, or an error, is received as any other message.
    ///
    /// # Panics
    /// If the payload cannot be serialised, or 16,384 messages wait to be sent.
    #[track_caller]
    pub fn send(&self, event: &str, payload: impl Serialize) {
        self.connection.send("BROADCAST", event, &self.channel, &self.connection.request_id(), &payload);
    }

    /// Sends a message, and returns the payload of the reply to it, of any event name. The message is sent before the future is
    /// polled.
    ///
    /// # Errors
    /// [`CallError::Rejected`] if the handler fails or the message is declined; [`CallError::Failed`] if there is no reply in
    /// time.
    ///
    /// # Panics
    /// As [`send`](Self::send).
    #[track_caller]
    pub fn request(
        &self,
        event: &str,
        payload: impl Serialize,
    ) -> impl Future<Output = Result<Value, CallError>> + Send {
        self.request_as(event, payload)
    }

    /// As [`request`](Self::request), with the payload decoded.
    ///
    /// # Errors
    /// As [`request`](Self::request); [`CallError::Failed`] also if the payload cannot be decoded as `T`.
    ///
    /// # Panics
    /// As [`send`](Self::send).
    #[track_caller]
    pub fn request_as<T: DeserializeOwned>(
        &self,
        event: &str,
        payload: impl Serialize,
    ) -> impl Future<Output = Result<T, CallError>> + Send {
        let awaited = self.awaited(format_args!("the reply to `{event}`"));
        let call = PendingCall::new(&self.connection);
        call.send("BROADCAST", event, &self.channel, &payload);
        async move {
            let answer = call.answer(&awaited).await?;
            Ok(self.decode(&awaited, answer.payload)?)
        }
    }

    /// Waits for the next message with this event name, except presence, and returns its payload. Messages before it stay
    /// unread.
    ///
    /// # Errors
    /// If there is none in time.
    #[track_caller]
    pub fn next(&mut self, event: &str) -> impl Future<Output = Result<Value, Failure>> + Send {
        self.next_as(event)
    }

    /// As [`next`](Self::next), with the payload decoded.
    ///
    /// # Errors
    /// If there is none in time, or it cannot be decoded as `T`.
    #[track_caller]
    pub fn next_as<T: DeserializeOwned>(&mut self, event: &str) -> impl Future<Output = Result<T, Failure>> + Send {
        let awaited = self.awaited(format_args!("`{event}`"));
        async move {
            let message = self.take(&awaited, |message| !message.is_presence() && message.event == event).await?;
            self.decode(&awaited, message.payload)
        }
    }

    /// Waits for the next change of presence, of any user. Messages before it stay unread.
    ///
    /// # Errors
    /// If there is none in time.
    #[track_caller]
    pub fn next_presence(&mut self) -> impl Future<Output = Result<PresenceChange, Failure>> + Send {
        self.next_presence_as()
    }

    /// As [`next_presence`](Self::next_presence), with presences decoded.
    ///
    /// # Errors
    /// If there is none in time, or a presence cannot be decoded as `T`.
    #[track_caller]
    pub fn next_presence_as<T: DeserializeOwned>(
        &mut self,
    ) -> impl Future<Output = Result<PresenceChange<T>, Failure>> + Send {
        let awaited = self.awaited(format_args!("presence"));
        async move {
            let message = self.take(&awaited, Received::is_presence).await?;
            message.presence().map_err(|error| self.connection.fail(&awaited, error.to_string()))
        }
    }

    /// Waits for the next message of any kind: for tests of the order.
    ///
    /// # Errors
    /// If there is none in time.
    #[track_caller]
    pub fn next_message(&mut self) -> impl Future<Output = Result<Received, Failure>> + Send {
        let awaited = self.awaited(format_args!("any message"));
        async move { self.take(&awaited, |_| true).await }
    }

    /// Checks that no message is unread, and that none is received for a time ([`silence`](super::Connector::silence)). With a
    /// paused clock that time has passed as soon as all tasks are idle.
    ///
    /// # Panics
    /// If there is a message, with its kind, event and payload.
    #[track_caller]
    pub fn assert_silence(&mut self) -> impl Future<Output = ()> + Send {
        let awaited = self.awaited(format_args!("silence"));
        async move {
            let mailbox = self.mailbox;
            let silence =
                self.connection.silence(|inbox| inbox.take(mailbox, |_| true).map(|message| message.summary())).await;
            if let Err(received) = silence {
                panic!("{}", self.connection.fail(&awaited, received));
            }
        }
    }

    /// Leaves the channel and waits for the acknowledgement. Earlier messages can still be read.
    ///
    /// # Errors
    /// [`CallError::Rejected`] if the answer is an error; [`CallError::Failed`] if there is no answer in time.
    #[track_caller]
    pub fn leave(&mut self) -> impl Future<Output = Result<(), CallError>> + Send {
        let awaited = self.awaited(format_args!("the acknowledgement of leaving"));
        let call = PendingCall::new(&self.connection);
        call.send("LEAVE_CHANNEL", "LEAVE_CHANNEL", &self.channel, &Value::Object(Default::default()));
        async move { call.answer(&awaited).await.map(drop) }
    }

    #[track_caller]
    fn awaited(&self, what: std::fmt::Arguments<'_>) -> Awaited {
        Awaited::here(format!("{what} in `{}`", self.channel))
    }

    async fn take(&self, awaited: &Awaited, matches: impl Fn(&Received) -> bool) -> Result<Received, Failure> {
        self.connection.wait(awaited, |inbox| inbox.take(self.mailbox, &matches)).await
    }

    fn decode<T: DeserializeOwned>(&self, awaited: &Awaited, payload: Value) -> Result<T, Failure> {
        serde_path_to_error::deserialize(payload).map_err(|error| self.connection.fail(awaited, error.to_string()))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.connection.with(|inbox| inbox.close(self.mailbox));
    }
}
