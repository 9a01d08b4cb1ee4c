//! The store of histories in Redis: it does what the scripts of the bus for Redis do, each in one step.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use pondsocket_proto::cluster::ChannelKey;
use pondsocket_proto::cluster::message::{Body, Envelope, UserMessage};
use pondsocket_proto::position::{Epoch, Position};

use super::super::redis::Peer;

/// The sender of a message: a node, the instance of its channel, and the number of the message there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Author {
    pub(crate) peer: Peer,
    pub(crate) serial: u64,
    pub(crate) number: u64,
}

/// A message to be appended.
#[derive(Clone, Debug)]
pub(crate) struct Append {
    pub(crate) key: ChannelKey,
    pub(crate) topic: Rc<str>,
    pub(crate) by: Author,
    /// The message, yet without its position.
    pub(crate) message: Envelope,
    /// True if an earlier attempt may have appended it.
    pub(crate) is_repeated: bool,
    /// The epoch of the history, if it begins with this message.
    pub(crate) fresh: Epoch,
}

/// A request of a node.
#[derive(Clone, Debug)]
pub(crate) enum StoreRequest {
    Append(Vec<Append>),
    /// The messages behind a position, or all.
    Read {
        key: ChannelKey,
        after: Option<Position>,
    },
    /// Begins a history, if there is none.
    Begin {
        key: ChannelKey,
        fresh: Epoch,
    },
    /// Begins a history anew.
    Restart {
        key: ChannelKey,
        fresh: Epoch,
    },
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub(crate) enum StoreAnswer {
    Appended(Vec<Position>),
    History { position: Option<Position>, messages: Vec<Stored> },
    Done,
}

/// A message that is published, and its topic.
pub(crate) type Published = (Rc<str>, Rc<Envelope>);

/// A message of a history.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) offset: u64,
    pub(crate) by: Author,
    pub(crate) message: Rc<Envelope>,
    at: u64,
    /// The time since it was appended, as of a read.
    pub(crate) age: u64,
}

impl Stored {
    pub(crate) fn user_message(&self) -> UserMessage {
        match &self.message.body {
            Body::UserMessage(message) => message.clone(),
            body => unreachable!("the store keeps messages of users, and not {body:?}"),
        }
    }
}

#[derive(Clone, Debug)]
struct StoredHistory {
    generation: u64,
    epoch: Epoch,
    top: u64,
    kept: VecDeque<Stored>,
}

impl StoredHistory {
    fn new(generation: u64, epoch: Epoch) -> StoredHistory {
        StoredHistory { generation, epoch, top: 0, kept: VecDeque::new() }
    }

    fn position(&self) -> Position {
        Position { epoch: self.epoch, offset: self.top }
    }
}

/// The data of one Redis.
#[derive(Clone, Debug, Default)]
pub(crate) struct HistoryStore {
    histories: BTreeMap<ChannelKey, StoredHistory>,
    /// The number of the data: another one after each start and each promotion.
    generation: u64,
    /// The most messages that a history keeps.
    most: usize,
    /// True if histories of an earlier generation go on.
    pub(crate) ignores_generations: bool,
    /// The positions that were given since the last call of [`take_given`](Self::take_given).
    given: Vec<(Position, Rc<Envelope>)>,
}

impl HistoryStore {
    pub(crate) fn new(most: usize) -> HistoryStore {
        HistoryStore { most, ..HistoryStore::default() }
    }

    /// Executes a request. Returns the answer, and the messages to be published, each with its topic.
    pub(crate) fn handle(&mut self, request: &StoreRequest, now: u64) -> (StoreAnswer, Vec<Published>) {
        let mut published = Vec::new();
        let answer = match request {
            StoreRequest::Append(batch) => {
                StoreAnswer::Appended(batch.iter().map(|append| self.append(append, now, &mut published)).collect())
            }
            StoreRequest::Read { key, after } => self.read(key, *after, now),
            StoreRequest::Begin { key, fresh } => {
                if self.history(key).is_none() {
                    self.begin(key, *fresh);
                }
                StoreAnswer::Done
            }
            StoreRequest::Restart { key, fresh } => {
                self.begin(key, *fresh);
                StoreAnswer::Done
            }
        };
        (answer, published)
    }

    /// The history of a channel, if it is one of the present generation.
    fn history(&self, key: &ChannelKey) -> Option<&StoredHistory> {
        self.histories.get(key).filter(|history| history.generation == self.generation || self.ignores_generations)
    }

    fn begin(&mut self, key: &ChannelKey, fresh: Epoch) {
        if self.histories.get(key).is_none_or(|history| history.epoch != fresh) {
            self.histories.insert(key.clone(), StoredHistory::new(self.generation, fresh));
        }
    }

    fn append(&mut self, append: &Append, now: u64, published: &mut Vec<Published>) -> Position {
        let Append { key, topic, by, message, is_repeated, fresh } = append;
        if self.history(key).is_none() {
            self.begin(key, *fresh);
        }
        let (most, history) = (self.most, self.histories.get_mut(key).expect("just begun, if there was none"));
        let known = history.kept.iter().find(|stored| *is_repeated && stored.message.id == message.id);
        if let Some(Stored { offset, .. }) = known {
            return Position { offset: *offset, ..history.position() };
        }
        history.top += 1;
        let position = history.position();
        let mut message = message.clone();
        if let Body::UserMessage(message) = &mut message.body {
            message.request_id = position.to_string();
            message.position = Some(position);
        }
        let message = Rc::new(message);
        let stored = Stored { offset: position.offset, by: *by, message: message.clone(), at: now, age: 0 };
        history.kept.push_back(stored);
        while history.kept.len() > most {
            history.kept.pop_front();
        }
        self.given.push((position, message.clone()));
        published.push((topic.clone(), message));
        position
    }

    fn read(&self, key: &ChannelKey, after: Option<Position>, now: u64) -> StoreAnswer {
        let Some(history) = self.history(key) else {
            return StoreAnswer::History { position: None, messages: Vec::new() };
        };
        let after = after.filter(|after| after.epoch == history.epoch).map_or(0, |after| after.offset);
        let behind = history.kept.iter().filter(|stored| stored.offset > after);
        let messages = behind.map(|stored| Stored { age: now.saturating_sub(stored.at), ..stored.clone() }).collect();
        StoreAnswer::History { position: Some(history.position()), messages }
    }

    /// The position of the last message of a channel.
    pub(crate) fn top(&self, key: &ChannelKey) -> Option<Position> {
        self.history(key).map(StoredHistory::position)
    }

    /// Takes the positions that were given, each with its message.
    pub(crate) fn take_given(&mut self) -> Vec<(Position, Rc<Envelope>)> {
        std::mem::take(&mut self.given)
    }

    /// All data is lost, and Redis runs on.
    pub(crate) fn flush(&mut self) {
        self.histories.clear();
    }

    /// Redis has started again, with its data or without.
    pub(crate) fn restart(&mut self, loses_data: bool) {
        self.generation += 1;
        if loses_data {
            self.flush();
        }
    }

    /// A copy, for a replica.
    pub(crate) fn copy(&self) -> HistoryStore {
        HistoryStore { given: Vec::new(), ..self.clone() }
    }

    /// A replica with these data becomes the primary.
    pub(crate) fn promote(&mut self, replica: HistoryStore) {
        self.histories = replica.histories;
        self.generation += 1;
    }
}

/// The id of a message among those of its source.
pub(crate) fn message_id(source: &str, by: Author) -> Arc<str> {
    format!("{source}-h{:x}.{:x}", by.serial, by.number).into()
}

#[cfg(test)]
mod tests {
    use pondsocket_proto::cluster::message::Target;
    use pondsocket_proto::wire::Object;

    use super::*;

    fn key() -> ChannelKey {
        super::super::super::server_channel::key("/history/0")
    }

    fn append(number: u64, is_repeated: bool, fresh: u32) -> StoreRequest {
        let by = Author { peer: 0, serial: 1, number };
        let payload = Object::encode(&()).expect("an object");
        let (from, event, request_id) = ("CHANNEL".into(), "news".to_owned(), String::new());
        let body = Body::UserMessage(UserMessage { from, event, payload, request_id, to: Target::All, position: None });
        let (id, source) = (message_id("web", by), "web".into());
        let message = Envelope { id, source, channel: Some(key()), timestamp: 0, body, ext: None };
        let fresh = Epoch::new(fresh);
        StoreRequest::Append(vec![Append { key: key(), topic: "t".into(), by, message, is_repeated, fresh }])
    }

    /// The position of a message, and whether it was published.
    fn placed(store: &mut HistoryStore, request: StoreRequest) -> (String, bool) {
        match store.handle(&request, 0) {
            (StoreAnswer::Appended(positions), published) => (positions[0].to_string(), !published.is_empty()),
            (answer, _) => panic!("no position: {answer:?}"),
        }
    }

    #[test]
    fn a_repeated_message_keeps_its_offset_and_is_not_published_again() {
        let mut store = HistoryStore::new(9);
        assert_eq!(placed(&mut store, append(1, false, 1)), ("000001.1".into(), true));
        assert_eq!(placed(&mut store, append(2, false, 2)), ("000001.2".into(), true));
        assert_eq!(placed(&mut store, append(1, true, 3)), ("000001.1".into(), false));
        assert_eq!(placed(&mut store, append(1, false, 4)), ("000001.3".into(), true));
    }

    #[test]
    fn data_of_an_earlier_generation_are_not_gone_on_with() {
        let mut store = HistoryStore::new(9);
        placed(&mut store, append(1, false, 1));
        let replica = store.copy();
        placed(&mut store, append(2, false, 2));
        store.promote(replica);
        assert_eq!(store.top(&key()), None);
        assert_eq!(placed(&mut store, append(2, true, 3)), ("000003.1".into(), true));
        store.restart(false);
        assert_eq!(placed(&mut store, append(3, false, 4)), ("000004.1".into(), true));
    }

    #[test]
    fn a_read_has_the_messages_that_are_kept_behind_a_position_of_the_same_epoch() {
        let mut store = HistoryStore::new(2);
        (1..=3).for_each(|number| drop(placed(&mut store, append(number, false, 1))));
        let mut read = |after: Option<(u32, u64)>| {
            let after = after.map(|(epoch, offset)| Position { epoch: Epoch::new(epoch), offset });
            match store.handle(&StoreRequest::Read { key: key(), after }, 0).0 {
                StoreAnswer::History { messages, .. } => messages.iter().map(|stored| stored.offset).collect(),
                answer => panic!("no history: {answer:?}"),
            }
        };
        let reads: [Vec<u64>; 4] = [None, Some((1, 2)), Some((1, 3)), Some((2, 3))].map(&mut read);
        assert_eq!(reads, [vec![2, 3], vec![3], vec![], vec![2, 3]]);
    }
}
