//! Sessions beyond one node. A record in the store of the bus has what a node knows of a session, so that its client can
//! resume on another one.
//!
//! ```text
//!  connection begins --> record: the node, and the positions        (written again while they move, within a rate)
//!  connection ends   --> record: the positions, which are a ticket  (with the answers to the client's messages)
//!  the next one, on any node: takes the record
//!      a ticket           --> resumes there
//!      of a living node   --> asks that node, which pings the client and ends a dead connection, as it ends an event stream:
//!                             then there is a ticket; or the node keeps the session, and says so
//!      of a dead node     --> resumes at what the record has: what the client has received since comes again
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pondsocket_proto::channel::Progress;
use pondsocket_proto::cluster::NodeId;
use pondsocket_proto::id::{ChannelName, UserId};
use pondsocket_proto::position::Position;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep, timeout_at};

use crate::cluster::{BoxFuture, BusError};
use crate::engine::answers::{Answers, CopyLimits};
use crate::engine::handled::{HandledMessage, HandledRecord};

/// The longest wait for the store when a client connects: as long as messages wait for it. All clients of a lost node come back at
/// the same time, and wait for each other.
const STORE_WAIT: Duration = Duration::from_secs(2);

/// The longest wait for a node that has the connection of a session: it pings the client, and ends the connection.
const HOLDER_WAIT: Duration = Duration::from_millis(1500);

/// The time until the first look at the record meanwhile. Each further one is twice as long, up to the longest: all clients of a
/// lost node look at the same time.
const FIRST_LOOK: Duration = Duration::from_millis(25);
const LONGEST_LOOK: Duration = Duration::from_millis(400);

/// The longest name of a channel in a record. Names are checked when channels are joined.
const MAX_NAME: usize = 4096;

/// The records of sessions in the store of the bus.
pub(crate) trait SessionRecords: fmt::Debug + Send + Sync {
    /// Removes a record, and returns it.
    fn take(&self, key: &str) -> BoxFuture<'static, Result<Option<Bytes>, BusError>>;
    /// Keeps a record, or removes it, behind the earlier calls. It does not wait; `kept` runs with `true` once the record
    /// is kept, or with `false` if it is not.
    fn put(&self, key: String, record: Option<Bytes>, ttl: Duration, kept: Option<Box<dyn FnOnce(bool) + Send>>);
    /// Returns `false` if so much waits to be written that further records should be short.
    fn has_room(&self) -> bool;
    /// Asks a node to end the connection of a session, if its client does not answer. Returns `false` if the node is not alive.
    fn claim(&self, holder: &NodeId, key: &str) -> bool;
    /// Returns `true` if the store has been away for so long that nothing waits for it any more.
    fn is_away(&self) -> bool;
    /// This node.
    fn me(&self) -> NodeId;
}

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
    /// Nothing, or nothing for this user.
    Nothing,
    /// The store has not answered.
    Unknown,
    /// The positions of its last connection, and the messages that were handled.
    Ticket(UserId, Positions, Vec<HandledMessage>),
    /// Its connection is alive on another node: the client is another one, with the same key.
    Alive,
}

#[derive(Debug, Deserialize, Serialize)]
struct Record {
    /// The node that has the connection; `None` if it has ended.
    node: Option<(Box<str>, u64)>,
    user: Box<str>,
    /// True if the node has answered another one: its client is alive, and keeps the session.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_held: bool,
    /// The channels, each with the position up to which everything is proven, and the offset up to which it was sent.
    channels: Vec<(Box<str>, Position, u64)>,
    /// The messages of the client that were handled. Nodes of an earlier version know none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    handled: Vec<Box<RawValue>>,
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

    /// Keeps the ticket of a connection that has ended. `kept` runs with `true` once that is done, or with `false` if it cannot be.
    pub(crate) fn keep(
        &self,
        key: &str,
        user: &UserId,
        (channels, answers): (&Positions, Option<&Answers>),
        ttl: Duration,
        kept: Box<dyn FnOnce(bool) + Send>,
    ) {
        let limits = if self.records.has_room() { CopyLimits::ALL } else { CopyLimits::SHORT };
        let record = Record::new(None, user, channels, copy(answers, limits)).encode();
        self.records.put(self.key(key), Some(record), ttl, Some(kept));
    }

    /// Notes the positions of a connection of this node, and the last messages that were handled.
    pub(crate) fn follow(&self, key: &str, user: &UserId, known: (&Positions, Option<&Answers>), ttl: Duration) {
        self.records.put(self.key(key), Some(self.of_this_node(user, known).encode()), ttl, None);
    }

    /// Notes the same for another node, which has asked: the client is alive.
    pub(crate) fn hold(&self, key: &str, user: &UserId, known: (&Positions, Option<&Answers>), ttl: Duration) {
        let record = Record { is_held: true, ..self.of_this_node(user, known) };
        self.records.put(self.key(key), Some(record.encode()), ttl, None);
    }

    fn of_this_node(&self, user: &UserId, (channels, answers): (&Positions, Option<&Answers>)) -> Record {
        let NodeId { name, incarnation } = self.records.me();
        let node = Some((name.as_ref().into(), incarnation));
        Record::new(node, user, channels, copy(answers, CopyLimits::SHORT))
    }

    /// The session has ended.
    pub(crate) fn forget(&self, key: &str) {
        self.records.put(self.key(key), None, Duration::ZERO, None);
    }

    /// Takes what is known of a session. A record of another user than `user` stays. One of this node is older than a ticket that
    /// this node has.
    pub(crate) async fn take(&self, key: &str, user: Option<&UserId>, ttl: Duration, has_ticket: bool) -> Found {
        let key = self.key(key);
        let mut claimed: Option<Record> = None;
        let (mut until, mut look) = (Instant::now(), FIRST_LOOK);
        loop {
            let answer = self.take_record(&key).await;
            if answer.is_none() && claimed.is_none() {
                return Found::Unknown;
            }
            let taken = answer.flatten();
            let record = taken.as_ref().and_then(|taken| serde_json::from_slice::<Record>(taken).ok());
            let holder = record.as_ref().and_then(Record::holder);
            match (record, holder) {
                (Some(record), _) if user.is_some_and(|user| *user.as_str() != *record.user) => {
                    // A stolen key is worth nothing without the user's own credentials.
                    self.records.put(key, taken, ttl, None);
                    return Found::Nothing;
                }
                (Some(record), None) => return record.into_ticket(false),
                (Some(record), Some(_)) if claimed.is_some() && record.is_held => {
                    self.records.put(key, taken, ttl, None);
                    return Found::Alive;
                }
                (Some(record), Some(_)) if claimed.is_some() && Instant::now() >= until => {
                    return record.into_ticket(true);
                }
                // Written before the node was asked, or while it pings the client: its answer is still to come.
                (Some(record), Some(_)) if claimed.is_some() => claimed = Some(record),
                (Some(_), Some(holder)) if has_ticket && holder == self.records.me() => return Found::Nothing,
                (Some(record), Some(holder)) => {
                    if holder == self.records.me() || !self.records.claim(&holder, &key) {
                        return record.into_ticket(true);
                    }
                    claimed = Some(record);
                    until = Instant::now() + HOLDER_WAIT;
                }
                (None, _) if claimed.is_none() => return Found::Nothing,
                // The node that has the connection has not answered.
                (None, _) if Instant::now() >= until => {
                    return claimed.map_or(Found::Nothing, |record| record.into_ticket(true));
                }
                (None, _) => {}
            }
            sleep(look).await;
            look = (2 * look).min(LONGEST_LOOK);
        }
    }

    /// Takes a record; `None` if the store does not answer. A store that loses its connection is asked again. An answer that comes
    /// too late is lost, and the record with it.
    async fn take_record(&self, key: &str) -> Option<Option<Bytes>> {
        let deadline = Instant::now() + STORE_WAIT;
        loop {
            match timeout_at(deadline, self.records.take(key)).await {
                Ok(Ok(taken)) => return Some(taken),
                Ok(Err(error)) if self.records.is_away() || Instant::now() + FIRST_LOOK >= deadline => {
                    tracing::debug!(target: "pondsocket::bus", %error, "cannot read a session");
                    return None;
                }
                Ok(Err(_)) => sleep(FIRST_LOOK).await,
                Err(_) => return None,
            }
        }
    }
}

fn copy(answers: Option<&Answers>, limits: CopyLimits) -> Vec<HandledMessage> {
    answers.map(|answers| answers.copy(limits)).unwrap_or_default()
}

impl Record {
    fn new(node: Option<(Box<str>, u64)>, user: &UserId, channels: &Positions, handled: Vec<HandledMessage>) -> Record {
        let position = |(name, Progress { epoch, proven, sent }): &(ChannelName, Progress)| {
            (name.as_str().into(), Position { epoch: *epoch, offset: *proven }, *sent)
        };
        let handled = handled.iter().filter_map(|message| to_raw_value(&message.record()).ok()).collect();
        let channels = channels.iter().map(position).collect();
        Record { node, user: user.as_str().into(), is_held: false, channels, handled }
    }

    fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("texts and numbers are JSON").into()
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
        /// The results of reads, the first one first; nothing after them.
        reads: Mutex<VecDeque<Option<Bytes>>>,
        asked: Mutex<usize>,
        written: Mutex<Vec<Bytes>>,
    }

    impl SessionRecords for Script {
        fn take(&self, _key: &str) -> BoxFuture<'static, Result<Option<Bytes>, BusError>> {
            let read = self.reads.lock().pop_front().flatten();
            Box::pin(async move { Ok(read) })
        }

        fn put(&self, _: String, record: Option<Bytes>, _: Duration, _: Option<Box<dyn FnOnce(bool) + Send>>) {
            self.written.lock().extend(record);
        }

        fn has_room(&self) -> bool {
            true
        }

        fn is_away(&self) -> bool {
            false
        }

        fn claim(&self, _holder: &NodeId, _key: &str) -> bool {
            *self.asked.lock() += 1;
            true
        }

        fn me(&self) -> NodeId {
            NodeId { name: "me".into(), incarnation: 1 }
        }
    }

    fn progress(proven: u64) -> Positions {
        let epoch = pondsocket_proto::position::Epoch::new(7);
        vec![(ChannelName::new("/chat/a", 99).expect("valid"), Progress { epoch, proven, sent: proven })]
    }

    fn user() -> UserId {
        UserId::new("bob").expect("valid")
    }

    fn live(proven: u64) -> Record {
        Record::new(Some(("other".into(), 3)), &user(), &progress(proven), Vec::new())
    }

    /// The outcome, if the other node writes these records after it was asked; the number of times that it was asked; and the
    /// records that were written.
    async fn found(answers: Vec<Option<Record>>) -> (Found, usize, Vec<Bytes>) {
        let script = Arc::new(Script::default());
        let reads = std::iter::once(Some(live(1))).chain(answers).map(|record| record.map(|record| record.encode()));
        *script.reads.lock() = reads.collect();
        let records = Arc::clone(&script) as Arc<dyn SessionRecords>;
        let shared = SharedSessions::new(records, "/");
        let found = shared.take("key", Some(&user()), Duration::from_secs(60), false).await;
        let (asked, written) = (*script.asked.lock(), std::mem::take(&mut *script.written.lock()));
        (found, asked, written)
    }

    fn proven(found: &Found) -> Option<u64> {
        match found {
            Found::Ticket(_, positions, _) => Some(positions[0].1.proven),
            Found::Nothing | Found::Unknown | Found::Alive => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn positions_that_a_node_writes_while_it_pings_the_client_are_no_answer() {
        let ticket = Record::new(None, &user(), &progress(5), Vec::new());
        let (found, asked, written) = found(vec![Some(live(4)), None, Some(ticket)]).await;
        assert_eq!((proven(&found), asked, written.len()), (Some(5), 1, 0), "{found:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_keeps_a_session_says_so_and_its_record_goes_back() {
        let held = Record { is_held: true, ..live(4) };
        let (found, asked, written) = found(vec![None, Some(held)]).await;
        assert!(matches!(found, Found::Alive), "{found:?}");
        assert_eq!((asked, written.len()), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_positions_of_a_node_that_does_not_answer_are_used() {
        let (found, asked, _) = found(vec![Some(live(4))]).await;
        assert_eq!((proven(&found), asked), (Some(4), 1), "{found:?}");
    }
}
