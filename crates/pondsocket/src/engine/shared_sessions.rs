//! Sessions beyond one node. A record in the store of the bus has what a node knows of a session, so that its client can
//! resume on another one.
//!
//! ```text
//!  connection begins --> record: the node, and the positions        (written again while they move, within a rate)
//!  connection ends   --> record: the positions, which are a ticket
//!  the next one, on any node: takes the record
//!      a ticket           --> resumes there
//!      of a living node   --> asks that node, which pings the client and ends a dead connection; then there is a ticket
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
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::{BoxFuture, BusError};

/// The longest wait for the store when a client connects. All clients of a lost node come back at the same time, and wait for
/// each other.
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
    /// Keeps a record, or removes it, behind the earlier calls. It does not wait; `kept` runs once the record is kept.
    fn put(&self, key: String, record: Option<Bytes>, ttl: Duration, kept: Option<Box<dyn FnOnce() + Send>>);
    /// Asks a node to end the connection of a session, if its client does not answer. Returns `false` if the node is not alive.
    fn claim(&self, holder: &NodeId, key: &str) -> bool;
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
    /// The positions of its last connection.
    Ticket(UserId, Positions),
    /// Its connection is alive on another node: the client is another one, with the same key.
    Alive,
}

#[derive(Debug, Deserialize, Serialize)]
struct Record {
    /// The node that has the connection; `None` if it has ended.
    node: Option<(Box<str>, u64)>,
    user: Box<str>,
    /// The channels, each with the position up to which everything is proven, and the offset up to which it was sent.
    channels: Vec<(Box<str>, Position, u64)>,
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

    /// Keeps the positions of a connection that has ended. `kept` runs once that is done.
    pub(crate) fn keep(
        &self,
        key: &str,
        user: &UserId,
        channels: &Positions,
        ttl: Duration,
        kept: Box<dyn FnOnce() + Send>,
    ) {
        let record = Record::new(None, user, channels).encode();
        self.records.put(self.key(key), Some(record), ttl, Some(kept));
    }

    /// Notes the positions of a connection of this node.
    pub(crate) fn follow(&self, key: &str, user: &UserId, channels: &Positions, ttl: Duration) {
        let NodeId { name, incarnation } = self.records.me();
        let record = Record::new(Some((name.as_ref().into(), incarnation)), user, channels).encode();
        self.records.put(self.key(key), Some(record), ttl, None);
    }

    /// The session has ended.
    pub(crate) fn forget(&self, key: &str) {
        self.records.put(self.key(key), None, Duration::ZERO, None);
    }

    /// Takes what is known of a session. A record of another user than `user` stays.
    pub(crate) async fn take(&self, key: &str, user: Option<&UserId>, ttl: Duration) -> Found {
        let (key, until) = (self.key(key), Instant::now() + HOLDER_WAIT);
        let (mut claimed, mut look): (Option<Record>, _) = (None, FIRST_LOOK);
        loop {
            let answer = match timeout(STORE_WAIT, self.records.take(&key)).await {
                Ok(Ok(taken)) => Some(taken),
                Ok(Err(error)) => {
                    tracing::debug!(target: "pondsocket::bus", %error, "cannot read a session");
                    None
                }
                // A late answer is lost, and the record with it.
                Err(_) => None,
            };
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
                (Some(_), Some(_)) if claimed.is_some() => {
                    self.records.put(key, taken, ttl, None);
                    return Found::Alive;
                }
                (Some(record), Some(holder)) => {
                    if holder == self.records.me() || !self.records.claim(&holder, &key) {
                        return record.into_ticket(true);
                    }
                    claimed = Some(record);
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
}

impl Record {
    fn new(node: Option<(Box<str>, u64)>, user: &UserId, channels: &Positions) -> Record {
        let position = |(name, Progress { epoch, proven, sent }): &(ChannelName, Progress)| {
            (name.as_str().into(), Position { epoch: *epoch, offset: *proven }, *sent)
        };
        Record { node, user: user.as_str().into(), channels: channels.iter().map(position).collect() }
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
        Found::Ticket(user, self.channels.into_iter().filter_map(progress).collect())
    }
}
