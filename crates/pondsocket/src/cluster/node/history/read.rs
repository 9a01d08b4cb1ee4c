//! The reads of shared histories from the store.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use pondsocket_proto::channel::{HistoryRules, StoredMessage, StoredMessages};
use pondsocket_proto::cluster::message::{Body, Envelope, ReceivedMessage, UserMessageRef};
use pondsocket_proto::cluster::{ChannelKey, Topic};
use pondsocket_proto::position::Position;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::super::{Host, Node};
use super::append::number_of;
use super::host::{HistoryState, Instance, RETRY, STORE_TIMEOUT};
use super::prolong::life;
use crate::cluster::{BusError, HistoryStore, Lost, StoredHistory};
use crate::engine::ids;
use crate::metrics::ClusterEvent;

/// The time in milliseconds for which a channel waits for messages that nearly always come by themselves: the answers of the
/// store and the messages of its topic arrive over two connections.
const REORDER_DELAY: u64 = 50;

/// The most reads at a time.
const MAX_READS: usize = 32;

/// The histories of the channels that are open here, and the reads that are to be made.
#[derive(Debug, Default)]
pub(super) struct OpenHistories {
    by_topic: HashMap<Topic, OpenHistory>,
    /// The histories with a planned read, by its time. Most have none, and are not looked at.
    planned: BTreeSet<(u64, Topic)>,
}

#[derive(Clone, Debug)]
struct OpenHistory {
    key: ChannelKey,
    of: Instance,
    rules: Arc<HistoryRules>,
    /// The time at which it was opened, in milliseconds.
    opened: u64,
    /// `true` if its channel has had a member on this node since.
    is_used: bool,
    /// The time of the next read; `None` if none is to be made.
    read_at: Option<u64>,
    /// The planned read is made only if the history is still at this position: otherwise what it lacked has come by itself.
    stuck_at: Option<Position>,
    /// The number of reads that have begun, and the last one of those that have succeeded.
    begun: u64,
    done: u64,
}

impl OpenHistories {
    pub(super) fn add(
        &mut self,
        topic: Topic,
        key: ChannelKey,
        serial: u64,
        rules: Arc<HistoryRules>,
        (opened, read_at): (u64, u64),
    ) {
        let of = Instance { channel: key.channel.clone(), serial };
        self.withdraw(&topic);
        let open =
            OpenHistory { key, of, rules, opened, is_used: false, read_at: None, stuck_at: None, begun: 0, done: 0 };
        self.by_topic.insert(topic.clone(), open);
        self.plan(&topic, read_at);
    }

    pub(super) fn remove(&mut self, topic: &Topic, serial: u64) {
        if self.by_topic.get(topic).is_some_and(|open| open.of.serial == serial) {
            self.withdraw(topic);
            self.by_topic.remove(topic);
        }
    }

    /// The rules of the history of a topic.
    pub(super) fn rules(&self, topic: &Topic) -> Option<Arc<HistoryRules>> {
        self.by_topic.get(topic).map(|open| Arc::clone(&open.rules))
    }

    /// Notes that the channel of a topic has a member. Returns the time for which messages are kept, in milliseconds, the first time.
    pub(super) fn note_used(&mut self, topic: &Topic) -> Option<u64> {
        let open = self.by_topic.get_mut(topic).filter(|open| !open.is_used)?;
        open.is_used = true;
        Some(open.rules.ttl)
    }

    /// Plans a read, unless one is planned for an earlier time.
    fn plan(&mut self, topic: &Topic, at: u64) -> bool {
        let Some(open) = self.by_topic.get_mut(topic) else { return false };
        open.stuck_at = None;
        if open.read_at.is_some_and(|planned| planned <= at) {
            return false;
        }
        if let Some(later) = open.read_at.replace(at) {
            self.planned.remove(&(later, topic.clone()));
        }
        self.planned.insert((at, topic.clone()));
        true
    }

    /// The instance of a history, if no read of it is planned.
    fn without_plan(&self, topic: &Topic) -> Option<Instance> {
        self.by_topic.get(topic).filter(|open| open.read_at.is_none()).map(|open| open.of.clone())
    }

    /// Plans a read that is made only if the history is still at this position then, unless one is planned.
    fn plan_if_stuck(&mut self, topic: &Topic, at: u64, position: Position) -> bool {
        let is_planned = self.without_plan(topic).is_some() && self.plan(topic, at);
        if is_planned && let Some(open) = self.by_topic.get_mut(topic) {
            open.stuck_at = Some(position);
        }
        is_planned
    }

    /// Plans a read of all histories.
    fn plan_all(&mut self, at: u64) {
        let topics: Vec<_> = self.by_topic.keys().cloned().collect();
        for topic in &topics {
            self.plan(topic, at);
        }
    }

    /// Drops the planned read of a history.
    fn withdraw(&mut self, topic: &Topic) {
        if let Some(at) = self.by_topic.get_mut(topic).and_then(|open| open.read_at.take()) {
            self.planned.remove(&(at, topic.clone()));
        }
    }

    /// The number of the next read of a topic.
    fn next_read(&self, topic: &Topic) -> u64 {
        self.by_topic.get(topic).map_or(0, |open| open.begun + 1)
    }

    /// Notes that this read, or a later one, has succeeded.
    fn note_done(&mut self, topic: &Topic, of: &Instance, read: u64) {
        if let Some(open) = self.by_topic.get_mut(topic).filter(|open| open.of.serial == of.serial) {
            open.done = open.done.max(read);
        }
    }

    /// Returns `true` if this read of a topic, or a later one, has succeeded, or if the channel has closed.
    fn is_done(&self, topic: &Topic, read: u64) -> bool {
        self.by_topic.get(topic).is_none_or(|open| open.done >= read)
    }

    /// Takes the reads that are due, and returns the time of the next one.
    fn take_due(&mut self, now: u64) -> (Vec<(Topic, OpenHistory)>, Option<u64>) {
        let mut due = Vec::new();
        while due.len() < MAX_READS
            && self.planned.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, topic)) = self.planned.pop_first()
        {
            if let Some(open) = self.by_topic.get_mut(&topic) {
                open.read_at = None;
                open.begun += 1;
                due.push((topic, open.clone()));
                open.stuck_at = None;
            }
        }
        (due, self.planned.first().map(|(at, _)| *at))
    }
}

/// Reads histories when it is time, for ever.
pub(in super::super) async fn run(node: Arc<Node>) {
    let mut reads = JoinSet::new();
    loop {
        let now = node.clock.now();
        let (due, next) = match reads.len() < MAX_READS {
            true => node.histories.open.lock().take_due(now),
            false => (Vec::new(), None),
        };
        for (topic, open) in due {
            let node = Arc::clone(&node);
            reads.spawn(async move { node.read_history(&topic, &open).await });
        }
        let alarm = async {
            match next {
                Some(at) => sleep_until(node.clock.instant(at).max(Instant::now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = node.histories.read_due.notified() => {}
            Some(_) = reads.join_next() => {}
            () = alarm => {}
        }
    }
}

impl Node {
    /// Plans the read of a history that lacks messages, unless they come by themselves meanwhile. It is called for each message that
    /// is ahead of its turn.
    pub(in super::super) fn read_if_stuck(&self, key: &ChannelKey) {
        let topic = self.topics.channel(key);
        let Some(of) = self.histories.open.lock().without_plan(&topic) else { return };
        let Some(state) = self.host(&key.endpoint).and_then(|host| host.history(&of)) else { return };
        let at = self.clock.now() + REORDER_DELAY;
        if self.histories.open.lock().plan_if_stuck(&topic, at, state.position) {
            self.histories.read_due.notify_one();
        }
    }

    /// Plans another attempt for a history that could not be read.
    pub(super) fn read_later(&self, key: &ChannelKey) {
        self.plan_read(&self.topics.channel(key), RETRY);
    }

    /// Waits until the history of a channel has everything that the store has now, for as long as `is_behind` is true and for two
    /// seconds at most. A client that comes from another node may have received messages that are yet to arrive here. Returns `false`
    /// if it is still behind.
    pub(crate) async fn catch_up(&self, key: &ChannelKey, is_behind: impl Fn() -> bool) -> bool {
        let topic = self.topics.channel(key);
        let read = self.histories.open.lock().next_read(&topic);
        // One read serves all clients that come within its delay.
        self.plan_read(&topic, REORDER_DELAY);
        let caught_up = self.loaded(key, || is_behind() && !self.histories.open.lock().is_done(&topic, read));
        timeout(Duration::from_millis(STORE_TIMEOUT), caught_up).await.is_ok()
    }

    fn plan_read(&self, topic: &Topic, delay: u64) {
        let at = self.clock.now() + delay;
        if self.histories.open.lock().plan(topic, at) {
            self.histories.read_due.notify_one();
        }
    }

    /// Reads the histories of these topics, because messages on them may be lost, or could have been lost before the
    /// subscription.
    pub(in super::super) fn reread(&self, lost: &Lost) {
        let now = self.clock.now();
        let mut open = self.histories.open.lock();
        match lost {
            Lost::All => open.plan_all(now),
            Lost::Topics(topics) => {
                for topic in topics {
                    open.plan(topic, now);
                }
            }
        }
        drop(open);
        self.histories.read_due.notify_one();
    }

    async fn read_history(&self, topic: &Topic, open: &OpenHistory) {
        let OpenHistory { key, of, opened, .. } = open;
        let (Some(store), Some(host)) = (self.bus.history(), self.host(&key.endpoint)) else { return };
        let Some(state) = host.history(of) else { return };
        let is_free = !(state.is_loading || state.is_detached || state.owes_restart);
        if is_free && open.stuck_at.is_some_and(|stuck_at| stuck_at != state.position) {
            // What it lacks now it has not lacked for long. A read would overtake what comes over the bus.
            if state.is_behind {
                self.read_if_stuck(key);
            }
            return;
        }
        let fetched = match state.is_detached {
            true => self.return_to(store, topic, open, &*host).await,
            false => self.fetch(store, topic, open, state).await,
        };
        match fetched {
            Ok(stored) => {
                let is_behind = self.load(open, state, &stored);
                self.histories.open.lock().note_done(topic, of, open.begun);
                self.count(ClusterEvent::HistoryRead);
                self.histories.waits.notify(key);
                if is_behind {
                    self.read_if_stuck(key);
                }
            }
            Err(error) => {
                tracing::debug!(target: "pondsocket::bus", topic = topic.as_str(), %error, "cannot read a history");
                if state.is_loading && self.is_given_up(*opened) {
                    self.drop_appends(of);
                    self.detach(key, of);
                }
                self.read_later(key);
            }
        }
    }

    /// Reads the history of a channel that has given positions without the store.
    async fn return_to(
        &self,
        store: &dyn HistoryStore,
        topic: &Topic,
        open: &OpenHistory,
        host: &dyn Host,
    ) -> Result<StoredHistory, BusError> {
        let of = &open.of;
        // Messages wait from here on, and so not before the store answers.
        store.read(topic, None, 0).await?;
        host.reattach(of);
        let read = match host.history(of) {
            Some(state) => self.fetch(store, topic, open, state).await,
            None => Ok(StoredHistory::default()),
        };
        if read.is_err() {
            self.drop_appends(of);
            host.detach(of, ids::fresh_epoch());
        }
        read
    }

    /// Drops the messages of a channel that are queued: it is about to give them positions itself.
    fn drop_appends(&self, of: &Instance) {
        self.outgoing.lock().appends.drop_channels(&HashSet::from([of.serial]));
    }

    /// Reads a history, and begins it if there is none, or if members of other nodes have missed something.
    async fn fetch(
        &self,
        store: &dyn HistoryStore,
        topic: &Topic,
        OpenHistory { key, rules, is_used, .. }: &OpenHistory,
        state: HistoryState,
    ) -> Result<StoredHistory, BusError> {
        if state.owes_restart {
            store.restart(topic, ids::fresh_epoch(), Duration::from_millis(rules.ttl)).await?;
            // The members of other nodes have missed what was sent here, and are to learn it before the next message.
            self.announce_restart(key);
        }
        let after = (!state.is_loading).then_some(state.position);
        let stored = store.read(topic, after, rules.messages).await?;
        if stored.position.is_some() {
            return Ok(stored);
        }
        store.begin(topic, ids::fresh_epoch(), life(*is_used, rules.ttl)).await?;
        store.read(topic, None, rules.messages).await
    }

    /// Passes what was read on to the channel. Returns `true` if it still lacks messages.
    fn load(&self, OpenHistory { key, of, .. }: &OpenHistory, state: HistoryState, stored: &StoredHistory) -> bool {
        let topic = self.topics.channel(key);
        let decoded: Vec<_> = stored.messages.iter().map(|message| Decoded::new(self, &topic, &message.data)).collect();
        let source = &*self.identity().source;
        let messages = stored.messages.iter().zip(&decoded).map(|(stored, decoded)| StoredMessage {
            offset: stored.offset,
            age: u64::try_from(stored.age.as_millis()).unwrap_or(u64::MAX),
            own: decoded.id_of(source).and_then(|id| number_of(of, id)),
            message: decoded.message(),
        });
        let stored =
            StoredMessages { position: stored.position, messages: messages.collect(), fresh: ids::fresh_epoch() };
        self.host(&key.endpoint).is_some_and(|host| host.load(of, state.position.epoch, stored))
    }
}

/// A message of the store.
enum Decoded<'a> {
    Quick(ReceivedMessage<'a>),
    Whole(Box<Envelope>),
    Unreadable,
}

impl<'a> Decoded<'a> {
    fn new(node: &Node, topic: &'a Topic, data: &'a [u8]) -> Decoded<'a> {
        match ReceivedMessage::read(&node.topics, topic, data) {
            Some(message) => Decoded::Quick(message),
            None => Envelope::decode(data).map_or(Decoded::Unreadable, |envelope| Decoded::Whole(Box::new(envelope))),
        }
    }

    fn message(&self) -> Option<UserMessageRef<'_>> {
        match self {
            Decoded::Quick(message) => Some(message.message()),
            Decoded::Whole(envelope) => match &envelope.body {
                Body::UserMessage(message) => Some(message.as_ref()),
                _ => None,
            },
            Decoded::Unreadable => None,
        }
    }

    /// The id of the message among those of its source, if `source` has sent it.
    fn id_of(&self, source: &str) -> Option<&str> {
        let (by, id) = match self {
            Decoded::Quick(message) => (message.source, message.id),
            Decoded::Whole(envelope) => (&*envelope.source, &*envelope.id),
            Decoded::Unreadable => return None,
        };
        let id = (by == source).then_some(id)?;
        // The full form has the source ahead of the id.
        Some(id.strip_prefix(source).and_then(|id| id.strip_prefix('-')).unwrap_or(id))
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use pondsocket_proto::cluster::Topics;
    use pondsocket_proto::id::ChannelName;
    use pondsocket_proto::position::Epoch;

    use super::*;

    fn key(channel: &str) -> ChannelKey {
        ChannelKey { endpoint: "e".into(), channel: ChannelName::new(channel, 99).expect("valid") }
    }

    fn topic(channel: &str) -> Topic {
        Topics::new("p", "n").channel(&key(channel))
    }

    fn rules() -> Arc<HistoryRules> {
        Arc::new(HistoryRules {
            messages: 9,
            bytes: 9,
            ttl: 9,
            replay_messages: 9,
            replay_bytes: 9,
            stamp: None,
            replies_overtake: false,
        })
    }

    fn open(channels: &[(&str, u64)]) -> OpenHistories {
        let mut histories = OpenHistories::default();
        for (serial, (channel, read_at)) in channels.iter().enumerate() {
            histories.add(topic(channel), key(channel), serial as u64, rules(), (0, *read_at));
        }
        histories
    }

    fn take(histories: &mut OpenHistories, now: u64) -> (Vec<String>, Option<u64>) {
        let (due, next) = histories.take_due(now);
        (due.into_iter().map(|(_, open)| open.key.channel.to_string()).collect(), next)
    }

    #[test]
    fn a_read_of_a_history_that_may_get_what_it_lacks_is_made_in_any_case_if_another_reason_comes() {
        let at = Position { epoch: Epoch::new(1), offset: 7 };
        let stuck_at = |histories: &mut OpenHistories, now| -> Vec<_> {
            histories.take_due(now).0.into_iter().map(|(_, open)| open.stuck_at).collect()
        };
        let mut histories = open(&[("/room", 0)]);
        assert!(!histories.plan_if_stuck(&topic("/room"), 60, at), "one is planned");
        assert_eq!(stuck_at(&mut histories, 10), [None]);
        assert!(histories.plan_if_stuck(&topic("/room"), 60, at));
        assert!(!histories.plan_if_stuck(&topic("/room"), 61, Position { offset: 8, ..at }), "it stays with the first");
        assert_eq!(stuck_at(&mut histories, 60), [Some(at)]);
        assert!(histories.plan_if_stuck(&topic("/room"), 110, at));
        assert!(!histories.plan(&topic("/room"), 120), "not later than planned");
        assert_eq!(stuck_at(&mut histories, 110), [None]);
    }

    #[test]
    fn reads_are_taken_when_they_are_due_the_earliest_first_and_once() {
        let mut histories = open(&[("/late", 30), ("/early", 10), ("/next", 20)]);
        assert_eq!(take(&mut histories, 9), (vec![], Some(10)));
        assert_eq!(take(&mut histories, 20), (vec!["/early".into(), "/next".into()], Some(30)));
        assert_eq!(take(&mut histories, 20), (vec![], Some(30)));
        assert_eq!(take(&mut histories, 30), (vec!["/late".into()], None));
        histories.plan_all(40);
        assert_eq!(take(&mut histories, 40).0.len(), 3);
    }

    #[test]
    fn a_read_is_planned_for_the_earliest_time_and_not_for_a_channel_that_has_closed() {
        let mut histories = open(&[("/a", 10), ("/b", 10)]);
        assert!(!histories.plan(&topic("/a"), 20), "there is an earlier one");
        assert!(histories.plan(&topic("/a"), 5));
        assert_eq!(take(&mut histories, 5), (vec!["/a".into()], Some(10)));
        histories.remove(&topic("/b"), 7);
        assert_eq!(take(&mut histories, 5).1, Some(10), "another instance has closed");
        histories.remove(&topic("/b"), 1);
        assert_eq!(take(&mut histories, 99), (vec![], None));
        assert!(!histories.plan(&topic("/b"), 1));
        // Opened again.
        histories.add(topic("/a"), key("/a"), 2, rules(), (0, 50));
        histories.add(topic("/a"), key("/a"), 3, rules(), (0, 60));
        assert_eq!(take(&mut histories, 99), (vec!["/a".into()], None));
    }

    #[test]
    fn a_limited_number_of_reads_is_taken_at_a_time() {
        let names: Vec<_> = (0..MAX_READS + 1).map(|n| format!("/{n}")).collect();
        let channels: Vec<_> = names.iter().map(|name| (&**name, 7)).collect();
        let mut histories = open(&channels);
        assert_eq!((take(&mut histories, 9).0.len(), take(&mut histories, 9).0.len()), (MAX_READS, 1));
    }
}
