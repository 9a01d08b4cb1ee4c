use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pondsocket_proto::cluster::Topic;
use pondsocket_proto::position::{Epoch, Position};

use super::bus::BoxFuture;
use super::error::BusError;

/// Keeps the histories of channels in the engine of a bus, so that all nodes give one order to the messages of a channel, and
/// a client can resume on any of them. Each history belongs to one topic.
///
/// A history is numbered by its [`Epoch`]. Its messages have offsets from 1 without gaps, in the order in which the engine
/// appended them. A history begins anew, with another epoch and without messages, when the engine has none (it never had one,
/// it has not been used for long, the engine has lost its data), when the engine may have lost the end of it (a replica that lagged behind
/// was promoted), and when a node asks for it. Two histories of one topic never have the same epoch.
pub trait HistoryStore: Send + Sync {
    /// Appends messages, and publishes each on its topic in the same step. Returns the outcome of each, in their order.
    ///
    /// The call itself takes the batch, so that messages are appended in the order of the calls and of their batches. The
    /// future only waits for the outcomes, and may be dropped. Subscribers of a topic receive its messages in the order of
    /// their offsets; what one node appends and [publishes](super::Bus::publish) on it keeps the order of the calls. A store
    /// that is down, or whose queue is full, answers [`Appended::NotSent`] soon; it keeps nothing for later.
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Vec<Appended>>;

    /// Reads the history of a topic: the messages behind `after`, or all that are kept if `after` is `None` or of another
    /// epoch. Of more than `most` messages it returns the last ones.
    ///
    /// # Errors
    /// The engine cannot be reached, or does not answer in time.
    fn read<'a>(
        &'a self,
        topic: &'a Topic,
        after: Option<Position>,
        most: usize,
    ) -> BoxFuture<'a, Result<StoredHistory, BusError>>;

    /// Begins the history of a topic with this epoch, if there is none. Of several nodes that do so at the same time, the first
    /// begins it, and the others find it. A history that has begun so goes on for `life`. As long as it has no message, a
    /// further call prolongs it to `life` from then on, if that is not shorter than before.
    ///
    /// # Errors
    /// As for [`read`](Self::read): the history may have begun. A further attempt needs another epoch, as for
    /// [`restart`](Self::restart).
    fn begin<'a>(&'a self, topic: &'a Topic, epoch: Epoch, life: Duration) -> BoxFuture<'a, Result<(), BusError>>;

    /// Begins the history of a topic anew, with this epoch and without messages. Nothing is published. Doing it again with the
    /// same epoch, while that is still the current one, has no effect.
    ///
    /// # Errors
    /// As for [`read`](Self::read): the history may have begun anew. A further attempt needs another epoch: the engine may have
    /// lost what followed this one.
    fn restart<'a>(&'a self, topic: &'a Topic, epoch: Epoch, ttl: Duration) -> BoxFuture<'a, Result<(), BusError>>;

    /// Returns the record of a key, if there is one. Keys are texts of up to 256 printable ASCII characters.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<StoredRecord>, BusError>>;

    /// Keeps a record under a key for `ttl`. It replaces one whose version is `replaces` or less, and the very same one, so that
    /// a call can be repeated. A record of any other version stays as it is, and the answer is `false`.
    ///
    /// Of several nodes that replace a record of the version `replaces` by one of a later version, one is answered `true`.
    ///
    /// # Errors
    /// As for [`read`](Self::read): the record may be kept.
    fn put<'a>(
        &'a self,
        key: &'a str,
        record: &'a StoredRecord,
        replaces: u64,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<bool, BusError>>;
}

/// A record of a [`HistoryStore`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredRecord {
    /// The version, below 2^53.
    pub version: u64,
    /// The content.
    pub data: Bytes,
}

/// A message to be appended to a history. Its text is `head`, the position that it gets, and `tail`.
#[derive(Clone, Debug)]
pub struct Append {
    /// The topic.
    pub topic: Topic,
    /// The text ahead of the position.
    pub head: Bytes,
    /// The text behind the position.
    pub tail: Bytes,
    /// A text that `head` or `tail` contains and no other message does.
    pub id: Arc<str>,
    /// `true` if the outcome of an earlier attempt is unknown. A message that was appended then, and is among the last thousand
    /// of its history, is neither appended nor published again: the answer is its position. If the earlier attempt comes to the
    /// engine later, from a connection that was given up, it has no effect.
    pub is_repeated: bool,
    /// The epoch of the history, if it begins with this message: a number that none has had, such as a random one. A store
    /// draws another one for a message [that is repeated](Self::is_repeated), because the earlier attempt may have begun a
    /// history that the engine has lost since.
    pub epoch: Epoch,
    /// The most messages that the history keeps.
    pub messages: usize,
    /// The most bytes of their texts that it keeps. A store may keep up to a quarter more before it removes the oldest ones. A
    /// larger message has a position, and neither it nor those before it have to be kept.
    pub bytes: usize,
    /// The time for which the messages are kept after the last one. The history itself, and so its epoch, goes on for a day
    /// longer: the members of a quiet channel would otherwise be told of a gap with its next message.
    pub ttl: Duration,
}

/// The outcome of one message of [`HistoryStore::append`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Appended {
    /// The message has this position, and was published.
    At(Position),
    /// The message was not appended.
    NotSent(BusError),
    /// The message may have been appended. It may be appended again, as [repeated](Append::is_repeated).
    Unknown(BusError),
}

/// The history of a topic, as far as it was read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StoredHistory {
    /// The position of the last message; `None` if the engine has no history.
    pub position: Option<Position>,
    /// The last messages, with contiguous offsets up to that of `position`.
    pub messages: Vec<StoredMessage>,
}

/// A message of a history.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredMessage {
    /// The offset.
    pub offset: u64,
    /// The time since it was appended, by the clock of the engine.
    pub age: Duration,
    /// The text as it was published.
    pub data: Bytes,
}
