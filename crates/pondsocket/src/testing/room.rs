use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::call::Call;
use super::error::{Asked, CallError, Failure};
use super::line::Line;
use super::received::{PresenceChange, Received};

/// A channel that a client has joined. It holds what comes for the channel, in order, from the acknowledgement of its
/// join until it is dropped. Reading it takes nothing from another room, not even from one of the same channel.
///
/// What is read by name leaves what came before it unread, to be read later.
#[derive(Debug)]
pub struct Room {
    line: Arc<Line>,
    channel: String,
    mailbox: u64,
}

impl Room {
    pub(super) fn new(line: &Arc<Line>, channel: &str, mailbox: u64) -> Room {
        Room { line: Arc::clone(line), channel: channel.to_owned(), mailbox }
    }

    /// The channel's name, as it was joined.
    pub fn name(&self) -> &str {
        &self.channel
    }

    /// Sends a message without waiting for anything. A reply to it, or an error, comes as any other message.
    ///
    /// # Panics
    /// If the payload does not serialise, or 16,384 messages wait to be sent.
    #[track_caller]
    pub fn send(&self, event: &str, payload: impl Serialize) {
        self.line.send("BROADCAST", event, &self.channel, &self.line.request_id(), &payload);
    }

    /// Sends a message and waits for the payload of the reply to it, whatever that is named. It is sent at once, also
    /// before the future is polled.
    ///
    /// # Errors
    /// What the server says if the handler fails.
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

    /// The same, with the reply's payload as a type of yours.
    ///
    /// # Errors
    /// What the server says if the handler fails; if the payload is not of the type.
    ///
    /// # Panics
    /// As [`send`](Self::send).
    #[track_caller]
    pub fn request_as<T: DeserializeOwned>(
        &self,
        event: &str,
        payload: impl Serialize,
    ) -> impl Future<Output = Result<T, CallError>> + Send {
        let asked = self.asked(format_args!("the reply to `{event}`"));
        let call = Call::new(&self.line);
        call.send("BROADCAST", event, &self.channel, &payload);
        async move {
            let answer = call.answer(&asked).await?;
            Ok(self.decode(&asked, answer.payload)?)
        }
    }

    /// The payload of the next message with this event name, presence excepted. Messages before it stay unread.
    ///
    /// # Errors
    /// If none comes.
    #[track_caller]
    pub fn next(&mut self, event: &str) -> impl Future<Output = Result<Value, Failure>> + Send {
        self.next_as(event)
    }

    /// The same, as a type of yours.
    ///
    /// # Errors
    /// If none comes, or it is not of the type.
    #[track_caller]
    pub fn next_as<T: DeserializeOwned>(&mut self, event: &str) -> impl Future<Output = Result<T, Failure>> + Send {
        let asked = self.asked(format_args!("`{event}`"));
        async move {
            let message = self.take(&asked, |message| !message.is_presence() && message.event == event).await?;
            self.decode(&asked, message.payload)
        }
    }

    /// The next change of somebody's presence. Messages before it stay unread.
    ///
    /// # Errors
    /// If none comes.
    #[track_caller]
    pub fn next_presence(&mut self) -> impl Future<Output = Result<PresenceChange, Failure>> + Send {
        self.next_presence_as()
    }

    /// The same, with what users show as a type of yours.
    ///
    /// # Errors
    /// If none comes, or it is not of the type.
    #[track_caller]
    pub fn next_presence_as<T: DeserializeOwned>(
        &mut self,
    ) -> impl Future<Output = Result<PresenceChange<T>, Failure>> + Send {
        let asked = self.asked(format_args!("presence"));
        async move {
            let message = self.take(&asked, Received::is_presence).await?;
            message.presence().map_err(|error| self.line.fail(&asked, error.to_string()))
        }
    }

    /// The next message, whatever it is: for tests of what comes after what.
    ///
    /// # Errors
    /// If none comes.
    #[track_caller]
    pub fn next_message(&mut self) -> impl Future<Output = Result<Received, Failure>> + Send {
        let asked = self.asked(format_args!("any message"));
        async move { self.take(&asked, |_| true).await }
    }

    /// Checks that nothing is unread, and that nothing more comes for a while
    /// ([`silence`](super::Connector::silence)). With paused time that while is over as soon as nothing has anything
    /// left to do.
    ///
    /// # Panics
    /// If there is something; the text says what.
    #[track_caller]
    pub fn assert_silence(&mut self) -> impl Future<Output = ()> + Send {
        let asked = self.asked(format_args!("silence"));
        async move {
            let mailbox = self.mailbox;
            let heard = self.line.silence(|inbox| inbox.take(mailbox, |_| true).map(|noise| noise.summary())).await;
            if let Err(noise) = heard {
                panic!("{}", self.line.fail(&asked, noise));
            }
        }
    }

    /// Leaves the channel and waits for the acknowledgement. What came before it can still be read.
    ///
    /// # Errors
    /// If it does not come.
    #[track_caller]
    pub fn leave(&mut self) -> impl Future<Output = Result<(), CallError>> + Send {
        let asked = self.asked(format_args!("the acknowledgement of leaving"));
        let call = Call::new(&self.line);
        call.send("LEAVE_CHANNEL", "LEAVE_CHANNEL", &self.channel, &Value::Object(Default::default()));
        async move { call.answer(&asked).await.map(drop) }
    }

    #[track_caller]
    fn asked(&self, what: std::fmt::Arguments<'_>) -> Asked {
        Asked::here(format!("{what} in `{}`", self.channel))
    }

    async fn take(&self, asked: &Asked, is_meant: impl Fn(&Received) -> bool) -> Result<Received, Failure> {
        self.line.wait(asked, |inbox| inbox.take(self.mailbox, &is_meant)).await
    }

    fn decode<T: DeserializeOwned>(&self, asked: &Asked, payload: Value) -> Result<T, Failure> {
        serde_path_to_error::deserialize(payload).map_err(|error| self.line.fail(asked, error.to_string()))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.line.with(|inbox| inbox.close(self.mailbox));
    }
}
