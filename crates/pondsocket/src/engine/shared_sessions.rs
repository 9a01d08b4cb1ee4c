//! Sessions beyond one node. A record in the store of the bus has what a node knows of a session, so that its client can
//! resume on another one.
//!
//! ```text
//!  connection begins --> record: the node, and the positions        (written again while they move, within a rate)
//!  connection ends   --> record: the positions, which are a ticket  (with the answers to the client's messages)
//!  the next one, on any node: reads the record
//!      a ticket           --> resumes there
//!      of a living node   --> asks that node, which pings the client and ends a dead connection, as it ends an event stream:
//!                             then there is a ticket; or the node keeps the session, and says so
//!      of a dead node     --> resumes at what the record has: what the client has received since comes again
//!                         --> acquires the session: its own record is kept in place of the one that it has read
//! ```
//!
//! Each connection has a version, which is later than those of the connections before. A record replaces none of a later version: what a
//! node writes too late, because the store was away or slow, changes nothing. A record is never removed when it is read, so it
//! is there for the next attempt of a client that has gone meanwhile.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pondsocket_proto::channel::Progress;
use pondsocket_proto::cluster::NodeId;
use pondsocket_proto::id::{ChannelName, UserId};
use pondsocket_proto::position::Position;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::cluster::{BoxFuture, BusError, StoredRecord};
use crate::engine::answers::{Answers, CopyLimits};
use crate::engine::handled::{HandledMessage, HandledRecord};

/// The longest wait for the store when a client connects: as long as messages wait for it. All clients of a lost node come back at
/// the same time, and wait for each other.
const STORE_WAIT: Duration = Duration::from_secs(2);

/// The times at which a record is read again, counted from the question to the node that has the connection: when a client that is
/// there has answered, also over a slow network, when the connection of one that is not there has been ended, and when the node
/// is not waited for any longer. They are few because all clients of a lost node wait at the same time.
const REREAD_TIMES: [Duration; 4] =
    [Duration::from_millis(25), Duration::from_millis(100), Duration::from_millis(600), Duration::from_millis(1500)];

/// The pause before the store is asked again.
const RETRY: Duration = Duration::from_millis(25);

/// The longest name of a channel in a record. Names are checked when channels are joined.
const MAX_NAME: usize = 4096;

/// The time for which the record of a session that is over is kept, against records that are written too late.
const OVER_TTL: Duration = Duration::from_secs(60);

/// The records of sessions in the store of the bus.
pub(crate) trait SessionRecords: fmt::Debug + Send + Sync {
    /// Returns a record.
    fn get(&self, key: &str) -> BoxFuture<'static, Result<Option<StoredRecord>, BusError>>;
    /// Keeps a record in place of one of the version `replaces` or an earlier one. Returns `false` if a later one is kept.
    fn replace(
        &self,
        key: &str,
        record: StoredRecord,
        replaces: u64,
        ttl: Duration,
    ) -> BoxFuture<'static, Result<bool, BusError>>;
    /// Keeps a record in place of one of the same or an earlier version, and of one that still waits, as soon as the store
    /// answers. It does not wait.
    fn put(&self, key: String, record: StoredRecord, ttl: Duration, settled: Option<Settled>);
    /// Returns `false` if so much waits to be written that further records should be short.
    fn has_room(&self) -> bool;
    /// Asks a node to end the connection of a session, if its client does not answer. Returns `false` if the node is not alive.
    fn claim(&self, holder: &NodeId, key: &str) -> bool;
    /// Returns `true` if the store has been away for so long that nothing waits for it any more.
    fn is_away(&self) -> bool;
    /// This node.
    fn me(&self) -> NodeId;
    /// The time, in milliseconds since 1970.
    fn now(&self) -> u64;
}

/// Called with `true` once a record is kept, or needed no more because a later one is; with `false` if it is dropped.
pub(crate) type Settled = Box<dyn FnOnce(bool) + Send>;

/// The positions of a client in its channels.
pub(crate) type Positions = Vec<(ChannelName, Progress)>;

/// The sessions of one endpoint on all nodes.
#[derive(Debug)]
pub(crate) struct SharedSessions {
    records: Arc<dyn SessionRecords>,
    /// The beginning of the keys of this endpoint.
    prefix: String,
}

/// The state of a session in the store.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nothing that is later than the ticket which this node has, or nothing for this user.
    Nothing,
    /// The store has not answered.
    Unknown,
    /// The positions of its last connection, and the messages that were handled.
    Ticket(UserId, Positions, Vec<HandledMessage>),
    /// Its connection is alive on another node: the client is another one, with the same key.
    Alive,
}

/// The facts about a session that go into its record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    /// The version of its connection.
    pub(crate) version: u64,
    pub(crate) user: &'a UserId,
    pub(crate) positions: &'a Positions,
    pub(crate) answers: Option<&'a Answers>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Record {
    /// The node that has the connection; `None` if it has ended.
    node: Option<(Box<str>, u64)>,
    user: Box<str>,
    /// The time at which the node has answered another one that its client is alive, and keeps the session; 0 if it has not.
    #[serde(rename = "held", default, skip_serializing_if = "is_zero")]
    alive_at: u64,
    /// The channels, each with the position up to which everything is proven, and the offset up to which it was sent.
    channels: Vec<(Box<str>, Position, u64)>,
    /// The messages of the client that were handled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    handled: Vec<Box<RawValue>>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl SharedSessions {
    pub(crate) fn new(records: Arc<dyn SessionRecords>, endpoint: &str) -> SharedSessions {
        let hash = Sha256::digest(endpoint.as_bytes());
        let prefix = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "-";
        SharedSessions { records, prefix }
    }

    /// The key of this endpoint in a text of another node.
    pub(crate) fn own<'a>(&self, key: &'a str) -> Option<&'a str> {
        key.strip_prefix(&self.prefix)
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The version of a new connection, which is later than `earlier`, and than those of connections whose record is gone.
    pub(crate) fn version_behind(&self, earlier: u64) -> u64 {
        self.records.now().max(earlier + 1)
    }

    /// Keeps the ticket of a connection that has ended.
    pub(crate) fn store_ticket(&self, key: &str, known: Known<'_>, ttl: Duration, settled: Settled) {
        let limits = if self.records.has_room() { CopyLimits::ALL } else { CopyLimits::SHORT };
        self.records.put(self.key(key), Record::new(None, known, limits).encode(known.version), ttl, Some(settled));
    }

    /// Notes the positions of a connection of this node, and the last messages that were handled.
    pub(crate) fn note(&self, key: &str, known: Known<'_>, ttl: Duration) {
        self.records.put(self.key(key), self.of_this_node(known).encode(known.version), ttl, None);
    }

    /// Notes the same for another node, which has asked: the client is alive.
    pub(crate) fn confirm_alive(&self, key: &str, known: Known<'_>, ttl: Duration) {
        let record = Record { alive_at: self.records.now(), ..self.of_this_node(known) };
        self.records.put(self.key(key), record.encode(known.version), ttl, None);
    }

    fn of_this_node(&self, known: Known<'_>) -> Record {
        let NodeId { name, incarnation } = self.records.me();
        Record::new(Some((name.as_ref().into(), incarnation)), known, CopyLimits::SHORT)
    }

    /// The session has ended with the connection of this version.
    pub(crate) fn forget(&self, key: &str, version: u64) {
        let over = Record { node: None, user: "".into(), alive_at: 0, channels: Vec::new(), handled: Vec::new() };
        self.records.put(self.key(key), over.encode(version), OVER_TTL, None);
    }

    /// Finds what is known of a session, and the version of its record; 0 if there is none. `own` is the version of the ticket that
    /// this node has: a record that is not later is passed over.
    pub(crate) async fn find(&self, key: &str, user: Option<&UserId>, own: Option<u64>) -> (Found, u64) {
        let key = self.key(key);
        let mut looks = REREAD_TIMES.into_iter();
        let mut asked: Option<Asked> = None;
        loop {
            let read = self.read(&key).await;
            let (stored, asking) = match (read, asked) {
                (Some(Some(stored)), asked) => (stored, asked),
                // It has expired, or the store is gone.
                (_, Some(Asked { record, version, .. })) => return (record.into_ticket(true), version),
                (Some(None), None) => return (Found::Nothing, 0),
                (None, None) => return (Found::Unknown, 0),
            };
            let StoredRecord { version, data } = stored;
            // A stolen key is worth nothing without the user's own credentials.
            let is_of_user = |record: &Record| user.is_none_or(|user| *user.as_str() == *record.user);
            let record = serde_json::from_slice::<Record>(&data).ok().filter(is_of_user);
            let Some(record) = record.filter(|_| own.is_none_or(|own| own < version)) else {
                return (Found::Nothing, version);
            };
            let Some(holder) = record.holder() else { return (record.into_ticket(false), version) };
            let (alive_at, at) = match asking {
                Some(Asked { alive_at, .. }) if record.alive_at > alive_at => return (Found::Alive, version),
                Some(Asked { alive_at, at, .. }) => (alive_at, at),
                None if holder == self.records.me() || !self.records.claim(&holder, &key) => {
                    return (record.into_ticket(true), version);
                }
                None => (record.alive_at, Instant::now()),
            };
            let Some(look) = looks.find(|look| at + *look > Instant::now()) else {
                return (record.into_ticket(true), version);
            };
            asked = Some(Asked { record, version, alive_at, at });
            sleep_until(at + look).await;
        }
    }

    /// Keeps the record of a connection of this node in place of the one of version `replaces`, which was read, and waits for
    /// that: until then the next connection would find the earlier record. Returns `None` if it is not known, and `false` if another
    /// record has been kept since.
    pub(crate) async fn acquire(&self, key: &str, known: Known<'_>, replaces: u64, ttl: Duration) -> Option<bool> {
        let (key, record) = (self.key(key), self.of_this_node(known).encode(known.version));
        self.in_time(|| self.records.replace(&key, record.clone(), replaces, ttl)).await
    }

    /// Reads a record; `None` if the store does not answer.
    async fn read(&self, key: &str) -> Option<Option<StoredRecord>> {
        self.in_time(|| self.records.get(key)).await
    }

    /// The answer of the store to a question; `None` if it does not answer. One that loses its connection is asked again.
    async fn in_time<T>(&self, ask: impl Fn() -> BoxFuture<'static, Result<T, BusError>>) -> Option<T> {
        let deadline = Instant::now() + STORE_WAIT;
        loop {
            match timeout_at(deadline, ask()).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) if self.records.is_away() || Instant::now() + RETRY >= deadline => {
                    tracing::debug!(target: "pondsocket::bus", %error, "cannot read a session");
                    return None;
                }
                Ok(Err(_)) => sleep(RETRY).await,
                Err(_) => return None,
            }
        }
    }
}

/// The record of a node that was asked to end the connection of a session.
#[derive(Debug)]
struct Asked {
    record: Record,
    version: u64,
    /// The time of the answer that the record had when the node was asked: a later one is the answer.
    alive_at: u64,
    /// The time at which it was asked.
    at: Instant,
}

impl Record {
    fn new(node: Option<(Box<str>, u64)>, known: Known<'_>, limits: CopyLimits) -> Record {
        let Known { user, positions, answers, .. } = known;
        let position = |(name, Progress { epoch, proven, sent }): &(ChannelName, Progress)| {
            (name.as_str().into(), Position { epoch: *epoch, offset: *proven }, *sent)
        };
        let handled = answers.map(|answers| answers.copy(limits)).unwrap_or_default();
        let handled = handled.iter().filter_map(|message| to_raw_value(&message.record()).ok()).collect();
        let channels = positions.iter().map(position).collect();
        Record { node, user: user.as_str().into(), alive_at: 0, channels, handled }
    }

    fn encode(&self, version: u64) -> StoredRecord {
        let data = serde_json::to_vec(self).expect("texts and numbers are JSON").into();
        StoredRecord { version, data }
    }

    fn holder(&self) -> Option<NodeId> {
        self.node.as_ref().map(|(name, incarnation)| NodeId { name: (**name).into(), incarnation: *incarnation })
    }

    /// The ticket. A record of a connection that has not ended is older than the connection: the client may have received
    /// everything since.
    fn into_ticket(self, is_older: bool) -> Found {
        let Ok(user) = UserId::new(&self.user) else { return Found::Nothing };
        let progress = |(name, position, sent): (Box<str>, Position, u64)| {
            let Position { epoch, offset } = position;
            let sent = if is_older { u64::MAX } else { sent };
            Some((ChannelName::new(&name, MAX_NAME).ok()?, Progress { epoch, proven: offset, sent }))
        };
        let handled = |text: Box<RawValue>| {
            let record: HandledRecord<'_> = serde_json::from_str(text.get()).ok()?;
            HandledMessage::from_record(&record, MAX_NAME)
        };
        let positions = self.channels.into_iter().filter_map(progress).collect();
        Found::Ticket(user, positions, self.handled.into_iter().filter_map(handled).collect())
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::engine::sync::Mutex;

    /// A store that another node writes, which has the connection.
    #[derive(Debug, Default)]
    struct Script {
        /// The results of reads, the first one first; the last one for ever.
        reads: Mutex<VecDeque<Option<StoredRecord>>>,
        asked: Mutex<usize>,
    }

    impl SessionRecords for Script {
        fn get(&self, _key: &str) -> BoxFuture<'static, Result<Option<StoredRecord>, BusError>> {
            let mut reads = self.reads.lock();
            let read = if reads.len() > 1 { reads.pop_front() } else { reads.front().cloned() };
            Box::pin(async move { Ok(read.flatten()) })
        }

        fn replace(
            &self,
            _key: &str,
            _record: StoredRecord,
            _replaces: u64,
            _ttl: Duration,
        ) -> BoxFuture<'static, Result<bool, BusError>> {
            Box::pin(async { Ok(true) })
        }

        fn put(&self, _key: String, _record: StoredRecord, _ttl: Duration, _settled: Option<Settled>) {}

        fn has_room(&self) -> bool {
            true
        }

        fn claim(&self, _holder: &NodeId, _key: &str) -> bool {
            *self.asked.lock() += 1;
            true
        }

        fn is_away(&self) -> bool {
            false
        }

        fn me(&self) -> NodeId {
            NodeId { name: "me".into(), incarnation: 1 }
        }

        fn now(&self) -> u64 {
            1_000
        }
    }

    fn user() -> UserId {
        UserId::new("bob").expect("valid")
    }

    fn record(node: Option<(Box<str>, u64)>, proven: u64) -> Record {
        let epoch = pondsocket_proto::position::Epoch::new(7);
        let name = ChannelName::new("/chat/a", 99).expect("valid");
        let positions = vec![(name, Progress { epoch, proven, sent: proven })];
        let known = Known { version: 0, user: &user(), positions: &positions, answers: None };
        Record::new(node, known, CopyLimits::ALL)
    }

    fn live(proven: u64) -> Record {
        record(Some(("other".into(), 3)), proven)
    }

    fn ticket(proven: u64) -> Record {
        record(None, proven)
    }

    /// The outcome, if the store has these records of version 5, one after the other, and the number of times that the other node
    /// was asked.
    async fn found(reads: Vec<Option<Record>>, own: Option<u64>) -> (Found, usize) {
        let script = Arc::new(Script::default());
        *script.reads.lock() = reads.into_iter().map(|record| record.map(|record| record.encode(5))).collect();
        let records = Arc::clone(&script) as Arc<dyn SessionRecords>;
        let (found, _) = SharedSessions::new(records, "/").find("key", Some(&user()), own).await;
        let asked = *script.asked.lock();
        (found, asked)
    }

    fn proven(found: &Found) -> Option<u64> {
        match found {
            Found::Ticket(_, positions, _) => Some(positions[0].1.proven),
            Found::Nothing | Found::Unknown | Found::Alive => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn positions_that_a_node_writes_while_it_pings_the_client_are_no_answer() {
        let (found, asked) = found(vec![Some(live(1)), Some(live(4)), Some(ticket(5))], None).await;
        assert_eq!((proven(&found), asked), (Some(5), 1), "{found:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_keeps_a_session_says_so() {
        let answered = |time| Some(Record { alive_at: time, ..live(4) });
        let (found, asked) = found(vec![answered(3), answered(3), answered(9)], None).await;
        assert!(matches!(found, Found::Alive), "{found:?}");
        assert_eq!(asked, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_answer_of_a_node_is_no_answer() {
        let answered = || Some(Record { alive_at: 3, ..live(4) });
        let (found, asked) = found(vec![answered(), answered(), Some(ticket(5))], None).await;
        assert_eq!((proven(&found), asked), (Some(5), 1), "{found:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_positions_of_a_node_that_does_not_answer_are_used() {
        for expired in [vec![], vec![None]] {
            let reads = [Some(live(1)), Some(live(4))].into_iter().chain(expired).collect();
            let (found, asked) = found(reads, None).await;
            assert_eq!((proven(&found), asked), (Some(4), 1), "{found:?}");
        }
    }

    #[tokio::test]
    async fn a_record_is_used_if_it_is_later_than_the_ticket_of_the_node() {
        for (own, expected) in [(None, Some(2)), (Some(4), Some(2)), (Some(5), None), (Some(6), None)] {
            let (found, _) = found(vec![Some(ticket(2))], own).await;
            assert_eq!(proven(&found), expected, "{own:?}: {found:?}");
        }
    }

    #[tokio::test]
    async fn versions_follow_the_clock_and_never_go_back() {
        let shared = SharedSessions::new(Arc::new(Script::default()), "/");
        assert_eq!([0, 999, 1_000, 5_000].map(|earlier| shared.version_behind(earlier)), [1_000, 1_000, 1_001, 5_001]);
    }
}
