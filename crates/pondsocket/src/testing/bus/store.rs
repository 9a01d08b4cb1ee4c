//! The histories and records of the engine in memory. Plain data: no tasks, no waiting.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::cluster::{Append, Epoch, Position, StoredHistory, StoredMessage, StoredRecord, Topic};

/// The number of messages among which a repeated one is looked for.
const REPEATED_WITHIN: usize = 1000;

/// The longest time for which something is kept, a hundred years: points in time have a limit.
const MAX_LIFE: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The time for which a history whose messages have expired goes on.
const NUMBERED: Duration = Duration::from_secs(24 * 3600);

/// The time for which a history goes on after its last message.
fn numbered(ttl: Duration) -> Duration {
    ttl.saturating_add(NUMBERED)
}

/// The histories by topic, and the records by key.
#[derive(Debug, Default)]
pub(super) struct Store {
    histories: Expiring<History>,
    records: Expiring<StoredRecord>,
}

#[derive(Debug)]
struct History {
    epoch: Epoch,
    /// The offset of the last message.
    last: u64,
    /// The time at which the messages expire. The history goes on for longer.
    until: Instant,
    kept: VecDeque<Kept>,
    /// The bytes of their texts.
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    id: Arc<str>,
    since: Instant,
    data: Bytes,
}

/// Values by name, with the times at which they expire.
#[derive(Debug)]
struct Expiring<V> {
    values: HashMap<Box<str>, (Instant, V)>,
    /// The number of values at which the expired ones are removed.
    sweep_at: usize,
}

impl Store {
    /// Appends a message. Returns its position, and the text to be published; none if it was appended before.
    pub(super) fn append(&mut self, append: &Append, now: Instant) -> (Position, Option<Bytes>) {
        // An earlier attempt may have begun a history, now lost, with the epoch of a repeated message.
        let epoch = || if append.is_repeated { random_epoch() } else { append.epoch };
        let history =
            self.histories.prolong(append.topic.as_str(), numbered(append.ttl), now, || History::new(epoch(), now));
        if history.until <= now {
            history.remove_all_but(0, 0);
        }
        if append.is_repeated
            && let Some(position) = history.position_of(&append.id)
        {
            return (position, None);
        }
        history.last += 1;
        history.until = now + append.ttl.min(MAX_LIFE);
        let position = history.position();
        let text = [&append.head, position.to_string().as_bytes(), &append.tail].concat();
        let data = Bytes::from(text);
        history.bytes += data.len();
        history.kept.push_back(Kept { id: append.id.clone(), since: now, data: data.clone() });
        history.remove_all_but(append.messages, append.bytes);
        (position, Some(data))
    }

    pub(super) fn read(&self, topic: &Topic, after: Option<Position>, most: usize, now: Instant) -> StoredHistory {
        let Some(history) = self.histories.get(topic.as_str(), now) else { return StoredHistory::default() };
        let after = after.filter(|after| after.epoch == history.epoch).map_or(0, |after| after.offset);
        let most = if history.until <= now { 0 } else { most };
        let messages = history.kept.iter().rev().zip((0..=history.last).rev()).take(most);
        let messages = messages.take_while(|(_, offset)| *offset > after).map(|(kept, offset)| StoredMessage {
            offset,
            age: now.saturating_duration_since(kept.since),
            data: kept.data.clone(),
        });
        let mut messages: Vec<_> = messages.collect();
        messages.reverse();
        StoredHistory { position: Some(history.position()), messages }
    }

    pub(super) fn begin(&mut self, topic: &Topic, epoch: Epoch, life: Duration, now: Instant) {
        let (topic, until) = (topic.as_str(), self.histories.until(topic.as_str(), now));
        if self.histories.get(topic, now).is_none_or(|history| history.last == 0) {
            let life = until.map_or(life, |until| life.max(until - now));
            self.histories.prolong(topic, life, now, || History::new(epoch, now));
        }
    }

    pub(super) fn restart(&mut self, topic: &Topic, epoch: Epoch, ttl: Duration, now: Instant) {
        let history = self.histories.prolong(topic.as_str(), numbered(ttl), now, || History::new(epoch, now));
        if history.epoch != epoch {
            *history = History::new(epoch, now);
        }
    }

    pub(super) fn get(&self, key: &str, now: Instant) -> Option<StoredRecord> {
        self.records.get(key, now).cloned()
    }

    pub(super) fn put(&mut self, key: &str, record: &StoredRecord, replaces: u64, ttl: Duration, now: Instant) -> bool {
        let is_kept = self.records.get(key, now).is_none_or(|kept| kept.version <= replaces || kept == record);
        if is_kept {
            *self.records.prolong(key, ttl, now, || record.clone()) = record.clone();
        }
        is_kept
    }

    /// Makes all histories begin anew.
    pub(super) fn lose_histories(&mut self) {
        self.histories = Expiring::default();
    }
}

impl History {
    fn new(epoch: Epoch, now: Instant) -> History {
        History { epoch, last: 0, until: now, kept: VecDeque::new(), bytes: 0 }
    }

    /// Removes the oldest messages over these bounds.
    fn remove_all_but(&mut self, messages: usize, bytes: usize) {
        while self.kept.len() > messages || self.bytes > bytes {
            self.bytes -= self.kept.pop_front().map_or(0, |first| first.data.len());
        }
    }

    fn position(&self) -> Position {
        Position { epoch: self.epoch, offset: self.last }
    }

    fn position_of(&self, id: &str) -> Option<Position> {
        let mut latest = self.kept.iter().rev().zip((0..=self.last).rev()).take(REPEATED_WITHIN);
        latest.find(|(kept, _)| &*kept.id == id).map(|(_, offset)| Position { epoch: self.epoch, offset })
    }
}

impl<V> Default for Expiring<V> {
    fn default() -> Self {
        Expiring { values: HashMap::new(), sweep_at: 64 }
    }
}

impl<V> Expiring<V> {
    fn get(&self, name: &str, now: Instant) -> Option<&V> {
        self.values.get(name).filter(|(until, _)| *until > now).map(|(_, value)| value)
    }

    /// The time at which the value of a name expires.
    fn until(&self, name: &str, now: Instant) -> Option<Instant> {
        self.values.get(name).map(|(until, _)| *until).filter(|until| *until > now)
    }

    /// Keeps the value of a name for `ttl`. If there is none it is made.
    fn prolong(&mut self, name: &str, ttl: Duration, now: Instant, make: impl FnOnce() -> V) -> &mut V {
        // When they are twice as many as the last sweep has left, so that sweeps cost little for each value.
        if self.values.len() >= self.sweep_at {
            self.values.retain(|_, (until, _)| *until > now);
            self.sweep_at = (self.values.len() * 2).max(64);
        }
        if self.get(name, now).is_none() {
            self.values.insert(name.into(), (now, make()));
        }
        let (until, value) = self.values.get_mut(name).expect("it was there, or was just inserted");
        *until = now + ttl.min(MAX_LIFE);
        value
    }
}

/// An epoch that no history has had: the keys of the standard hasher are random.
fn random_epoch() -> Epoch {
    Epoch::new(RandomState::new().hash_one(0) as u32)
}
