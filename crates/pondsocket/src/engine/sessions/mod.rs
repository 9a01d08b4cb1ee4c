//! Sessions: what is known of clients that do not know their own position, so that they can resume on another connection.
//!
//! A client names its session by a key when it connects. While the connection is open, answers to pings prove what the client
//! has received. When the connection ends, the session keeps a ticket with these positions, from which the next connection of the
//! same key and user goes on.
//!
//! On a node whose bus has a store the next connection may come to any node: see `shared_sessions.rs`.

mod connection;
mod saved;
mod table;
mod ticket;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pondsocket_proto::id::{ConnectionId, UserId};
use pondsocket_proto::position::Position;
use tokio::time::{Instant, timeout};

pub(crate) use self::connection::{ConnectionSession, SessionConnection};
pub(crate) use self::saved::SavedSession;
use self::table::{Entry, Other, Table};
use self::ticket::{KeptTicket, ReceivedAll, Ticket};
use crate::engine::answers::Answers;
use crate::engine::handled::HandledMessage;
use crate::engine::session_key::SessionKey;
use crate::engine::shared_sessions::{Found, Known, SharedSessions};
use crate::engine::sync::Mutex;
use crate::limits::memory::Memory;

/// The time in which the older connection of a session answers a ping, if its client is alive.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// The time that handlers have to finish before the ticket of their connection goes to another node, whose client waits for it.
const SETTLE_TIMEOUT: Duration = Duration::from_millis(500);

/// The time for which the record of a connection is kept in the store. It is written again in time.
const RECORD_TTL: Duration = Duration::from_secs(24 * 3600);

/// The attempts to acquire a session that other nodes acquire at the same time.
const ATTEMPTS: usize = 3;

/// The outcome of a connection that has been made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Begun {
    /// It has the session.
    Kept,
    /// There are too many sessions: it has none.
    TooMany,
    /// The client has attempted another connection since, which has the session: this one is to end.
    Outdated,
}

/// The client of a session is connected.
#[derive(Debug)]
struct Alive;

/// The sessions of one endpoint.
#[derive(Debug)]
pub(crate) struct Sessions {
    window: Duration,
    /// The shortest time between two pings of a connection, in milliseconds.
    proof_interval: u64,
    most: usize,
    /// Counts the answers that are kept.
    memory: Arc<Memory>,
    table: Mutex<Table>,
    /// The place in the table at which [`write_moved_records`](Self::write_moved_records) goes on.
    next_written: AtomicUsize,
    /// The number of connections that clients with a key have attempted.
    attempts: AtomicU64,
    /// The number of times that the store may have lost its records.
    losses: AtomicU64,
    /// The sessions on all nodes, if the bus has a store.
    shared: OnceLock<SharedSessions>,
}

impl Sessions {
    pub(crate) fn new(window: Duration, proof_interval: Duration, most: usize, memory: Arc<Memory>) -> Sessions {
        let proof_interval = u64::try_from(proof_interval.as_millis()).unwrap_or(u64::MAX);
        Sessions {
            window,
            proof_interval,
            most,
            memory,
            table: Mutex::default(),
            next_written: AtomicUsize::new(0),
            attempts: AtomicU64::new(0),
            losses: AtomicU64::new(0),
            shared: OnceLock::new(),
        }
    }

    /// The messages that an earlier server or another node has handled; `None` if there are none.
    fn restore_answers(&self, handled: Vec<HandledMessage>) -> Option<Arc<Answers>> {
        (!handled.is_empty()).then(|| Arc::new(Answers::restore(&self.memory, handled)))
    }

    /// Shares the sessions with other nodes. Called before the first connection.
    pub(crate) fn share(&self, shared: SharedSessions) {
        // An error is impossible: an endpoint calls it once.
        let _ = self.shared.set(shared);
    }

    /// The session of a new connection, with the positions of the connection before, and the position of the last event that
    /// the client has received, if it has told that. If the connection before is open, its client is pinged: when it answers it
    /// is another client with the same key, and the new connection has no session. Else it is lost, and is ended, as an event
    /// stream always is, and as all are whose answers prove nothing: those of the new one do if `pongs_prove`. Cancel-safe: the
    /// positions stay with the session.
    pub(crate) async fn claim(
        self: &Arc<Self>,
        key: SessionKey,
        user: Option<&UserId>,
        last_event: Option<Position>,
        pongs_prove: bool,
    ) -> Option<Box<ConnectionSession>> {
        // Relaxed: it only numbers them.
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        let kept = self.ticket(key, user).await.ok()?;
        let mut session = ConnectionSession::new(self, key, kept, last_event, pongs_prove);
        session.attempt = attempt;
        if let Some(shared) = self.shared.get() {
            session = self.acquire(session, shared, user).await?;
        }
        session.note_last_event();
        Some(session)
    }

    /// Gives a session to its new connection, on whichever node it was before. Returns `None` if its client is connected to
    /// another node.
    async fn acquire(
        &self,
        mut session: Box<ConnectionSession>,
        shared: &SharedSessions,
        user: Option<&UserId>,
    ) -> Option<Box<ConnectionSession>> {
        let key = session.key().to_string();
        for _ in 0..ATTEMPTS {
            let own = session.ticket_version();
            let (found, version) = shared.find(&key, user, own).await;
            session.version = shared.version_behind(version.max(own.unwrap_or(0)));
            match found {
                Found::Nothing => {}
                Found::Unknown => {
                    session.doubt_ticket();
                    break;
                }
                // The client was at another node since it was here.
                Found::Ticket(user, channels, handled) => {
                    let answers = self.restore_answers(handled);
                    session.set_ticket(Ticket { version, user, channels, answers });
                }
                Found::Alive => {
                    session.drop_ticket();
                    return None;
                }
            }
            // A new client has nothing that another node could use.
            let Some(acquired) = session.acquire(shared, version).await else { break };
            session.is_noted = acquired;
            if acquired {
                break;
            }
        }
        Some(session)
    }

    /// Returns `true` if the client of a connection answers a ping.
    async fn is_alive(&self, connection: &dyn SessionConnection) -> bool {
        if !connection.is_open() {
            return false;
        }
        let Some(number) = connection.probe() else { return false };
        // Its client answers, or it ends by itself, or neither in time.
        let answered = timeout(PROBE_TIMEOUT, changed(connection, || connection.has_answered(number))).await;
        answered.is_ok() && connection.is_open()
    }

    /// Ends a connection whose client is lost.
    async fn end_lost(&self, connection: &dyn SessionConnection) {
        if connection.is_open() {
            connection.supersede();
        }
        // Its task leaves the channels, and then the ticket.
        let _ = timeout(PROBE_TIMEOUT, changed(connection, || false)).await;
    }

    /// The ticket of a session, also of one whose connection is lost. `Err` if its client is connected.
    async fn ticket(&self, key: SessionKey, user: Option<&UserId>) -> Result<Option<KeptTicket>, Alive> {
        let mut ended: Option<Arc<dyn SessionConnection>> = None;
        // Once for each connection that another client has made with the same key meanwhile.
        for _ in 0..ATTEMPTS {
            let older = match self.kept_ticket(key, user) {
                Ok(ticket) => return Ok(ticket),
                Err(older) => older,
            };
            if ended.as_ref().is_some_and(|ended| Arc::ptr_eq(ended, &older)) {
                // Its task has not run since: its thread is busy. It leaves no ticket to the new connection, which it would
                // find in its place.
                let ticket = older.session().map(|session| session.doubtful_ticket(older.user()));
                let ticket = ticket.filter(|ticket| user.is_none_or(|user| *user == ticket.user));
                return Ok(ticket.map(|ticket| KeptTicket { ticket, until: None }));
            }
            if self.is_alive(&*older).await {
                return Err(Alive);
            }
            self.end_lost(&*older).await;
            ended = Some(older);
        }
        Err(Alive)
    }

    /// The ticket of a session; `Err` with its connection if that has not left its channels yet. The ticket stays in the table
    /// until the new connection begins: if that is never established it is still there, and no new session takes its place.
    fn kept_ticket(
        &self,
        key: SessionKey,
        user: Option<&UserId>,
    ) -> Result<Option<KeptTicket>, Arc<dyn SessionConnection>> {
        let mut table = self.table.lock();
        table.expire(Instant::now());
        match table.by_key.get(&key) {
            Some(Entry::Live { connection, .. }) => match connection.upgrade() {
                Some(connection) => Err(connection),
                None => {
                    table.by_key.remove(&key);
                    Ok(None)
                }
            },
            // A stolen key is worth nothing without the user's own credentials.
            Some(Entry::Ended { ticket, .. }) if user.is_some_and(|user| *user != ticket.user) => Ok(None),
            Some(Entry::Ended { ticket, until, .. }) => {
                Ok(Some(KeptTicket { ticket: ticket.clone(), until: Some(*until) }))
            }
            None => Ok(None),
        }
    }

    /// A connection of a session has been made, whose ticket is kept until `claimed`. Returns the outcome, and the connection that
    /// was made meanwhile with the same key: its client has gone, or is another one.
    fn begin(&self, key: SessionKey, user: &UserId, claimed: Option<Instant>, live: Entry) -> (Begun, Option<Other>) {
        let mut table = self.table.lock();
        table.expire(Instant::now());
        if table.is_outdated(&key, &live) {
            return (Begun::Outdated, None);
        }
        let other = table.other_since(&key, claimed, user);
        // At the limit new sessions are not kept: those that exist have clients that rely on them.
        let has_room = table.by_key.len() < self.most || table.by_key.contains_key(&key);
        if has_room {
            table.by_key.insert(key, live);
        }
        (if has_room { Begun::Kept } else { Begun::TooMany }, other)
    }

    /// The connection of a session has left its channels. Without a ticket the session ends.
    fn end(&self, key: SessionKey, version: u64, ended: ConnectionId, ticket: Option<Ticket>) {
        let mut table = self.table.lock();
        // Not that of a connection which has taken its place.
        if matches!(table.by_key.get(&key), Some(Entry::Live { id, .. }) if *id == ended) {
            match ticket {
                Some(ticket) => table.keep(key, ticket, Instant::now() + self.window),
                None => {
                    table.by_key.remove(&key);
                    drop(table);
                    self.shared.get().iter().for_each(|shared| shared.forget(&key.to_string(), version));
                }
            }
        }
    }

    /// Keeps a record of the positions of a connection, for other nodes.
    fn write_record(&self, key: SessionKey, known: Known<'_>) {
        if let Some(shared) = self.shared.get() {
            shared.note(&key.to_string(), known, RECORD_TTL);
        }
    }

    /// Writes the records of connections whose positions have moved, `most` at most. Returns their number.
    pub(crate) fn write_moved_records(&self, most: usize) -> usize {
        if self.shared.get().is_none() {
            return 0;
        }
        // Cloned, because application code could run in the drop of the last reference to a connection.
        let connections: Vec<_> = {
            let table = self.table.lock();
            let live = |(key, entry): (&SessionKey, &Entry)| match entry {
                Entry::Live { connection, .. } => Some((*key, connection.upgrade()?)),
                Entry::Ended { .. } => None,
            };
            table.by_key.iter().filter_map(live).collect()
        };
        // Each time from where the last one ended: otherwise some would never be written if more move than may be.
        let start = self.next_written.load(Ordering::Relaxed) % connections.len().max(1);
        let (last, first) = connections.split_at(start);
        let (mut visited, mut written) = (0, 0);
        for (key, connection) in first.iter().chain(last) {
            if written == most {
                break;
            }
            visited += 1;
            if let Some(session) = connection.session().filter(|_| connection.is_open())
                && let Some(positions) = session.moved()
            {
                self.write_record(*key, session.known(connection.user(), &positions));
                written += 1;
            }
        }
        // Relaxed: one task follows.
        self.next_written.store(start + visited, Ordering::Relaxed);
        written
    }

    /// Has [`write_moved_records`](Self::write_moved_records) write all records again, because the store may have lost them.
    pub(crate) fn rewrite_all(&self) {
        // Relaxed: at worst a record is written a moment later.
        self.losses.fetch_add(1, Ordering::Relaxed);
    }

    /// Moves the ticket of a session without a connection into the store, so that it is used once, on whichever node.
    fn store_ticket(self: &Arc<Self>, key: SessionKey) {
        let Some(shared) = self.shared.get() else { return };
        let mut table = self.table.lock();
        let Some(Entry::Ended { ticket, until, is_being_stored }) = table.by_key.get_mut(&key) else { return };
        if std::mem::replace(is_being_stored, true) {
            return;
        }
        let (Ticket { version, user, channels, answers }, until) = (ticket.clone(), *until);
        drop(table);
        let me = Arc::downgrade(self);
        let settled = Box::new(move |is_settled| {
            let Some(sessions) = me.upgrade() else { return };
            let mut table = sessions.table.lock();
            if is_settled {
                // Only once it is there: otherwise the ticket would be lost with the store.
                table.remove_ended(key, until);
            } else if let Some(Entry::Ended { is_being_stored, .. }) = table.by_key.get_mut(&key) {
                // It is published when another node asks for it.
                *is_being_stored = false;
            }
        });
        let known = Known { version, user: &user, positions: &channels, answers: answers.as_deref() };
        shared.store_ticket(&key.to_string(), known, until - Instant::now(), settled);
    }

    /// A client has come to another node with the key of a session, named by its record. If its connection here does not
    /// answer, it is ended, and its ticket goes to the store; else its record goes back there.
    pub(crate) fn claimed(self: &Arc<Self>, record: &str) {
        let Some(shared) = self.shared.get() else { return };
        let Some(key) = shared.own(record).and_then(|key| key.parse::<SessionKey>().ok()) else { return };
        let sessions = Arc::clone(self);
        tokio::spawn(async move {
            let live = match sessions.table.lock().by_key.get(&key) {
                Some(Entry::Live { connection, .. }) => connection.upgrade(),
                _ => None,
            };
            if let Some(connection) = live {
                if sessions.is_alive(&*connection).await
                    && let Some(session) = connection.session()
                    && let Some(shared) = sessions.shared.get()
                {
                    let positions = session.positions();
                    return shared.confirm_alive(
                        &key.to_string(),
                        session.known(connection.user(), &positions),
                        RECORD_TTL,
                    );
                }
                sessions.end_lost(&*connection).await;
            }
            sessions.settle(key).await;
            sessions.store_ticket(key);
        });
    }

    /// Waits for a moment until the messages of an ended connection are handled: their answers go along with its ticket.
    async fn settle(&self, key: SessionKey) {
        let answers = match self.table.lock().by_key.get(&key) {
            Some(Entry::Ended { ticket, .. }) => ticket.answers.clone(),
            _ => None,
        };
        if let Some(answers) = answers {
            // An answer that comes later is lost: a repeat is told so.
            let _ = timeout(SETTLE_TIMEOUT, answers.all_finished()).await;
        }
    }

    /// The ticket of a connection that was never established. It stands in place of the one that was kept if the store knows of
    /// the connection by now.
    fn put_back(&self, key: SessionKey, ticket: Ticket) {
        let mut table = self.table.lock();
        let is_vacant = match table.by_key.get(&key) {
            None => true,
            Some(Entry::Live { connection, .. }) => connection.strong_count() == 0,
            Some(Entry::Ended { ticket: kept, .. }) => kept.version < ticket.version,
        };
        if is_vacant {
            table.keep(key, ticket, Instant::now() + self.window);
        }
    }

    /// The client of an ended connection has received everything, because it has answered the close frame.
    fn prove(&self, key: SessionKey, user: &UserId, received: &[ReceivedAll]) {
        let mut table = self.table.lock();
        if let Some(Entry::Ended { ticket, .. }) = table.by_key.get_mut(&key)
            && ticket.user == *user
        {
            for (name, progress) in &mut ticket.channels {
                let is_same = |own: &&ReceivedAll| own.channel == *name && own.progress.epoch == progress.epoch;
                if let Some(own) = received.iter().find(is_same) {
                    // More may have been sent behind the leave: messages that stood ahead of it had to wait for their positions.
                    progress.sent = progress.sent.max(own.progress.sent);
                    if own.with_earlier {
                        progress.proven = progress.sent;
                    }
                }
            }
        }
    }

    /// The number of sessions.
    pub(crate) fn len(&self) -> usize {
        let mut table = self.table.lock();
        table.expire(Instant::now());
        table.by_key.len()
    }
}

/// Waits until a condition holds, which is looked at after each answer of the client, or the connection has left its channels.
async fn changed(connection: &dyn SessionConnection, holds: impl Fn() -> bool) {
    if let Some(session) = connection.session() {
        session.changed(holds).await;
    }
}
