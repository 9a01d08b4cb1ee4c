//! The session of one connection: what its client was sent and has received, and what it has not received on the connection
//! before.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use pondsocket_proto::channel::{Progress, Proof, Run};
use pondsocket_proto::id::{ChannelName, ConnectionId, UserId};
use pondsocket_proto::position::{Epoch, Position};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::table::{Entry, Other};
use super::ticket::{KeptTicket, MAX_CHANNELS, ReceivedAll, Ticket};
use super::{Begun, RECORD_TTL, Sessions};
use crate::engine::answers::Answers;
use crate::engine::changes;
use crate::engine::session_key::SessionKey;
use crate::engine::shared_sessions::{Known, Positions, SharedSessions};
use crate::engine::sync::Mutex;

/// A connection, as its session needs it.
pub(crate) trait SessionConnection: fmt::Debug + Send + Sync {
    /// Returns `true` if nothing has ended the connection.
    fn is_open(&self) -> bool;
    /// Its user.
    fn user(&self) -> &UserId;
    /// Its session; `None` if it has none.
    fn session(&self) -> Option<&ConnectionSession>;
    /// Pings the client, and returns the number of the ping. `None` if an answer would prove nothing.
    fn probe(&self) -> Option<u32>;
    /// Returns `true` if the client has answered a ping.
    fn has_answered(&self, number: u32) -> bool;
    /// Ends the connection, because its client has connected again.
    fn supersede(&self);
}

/// The session of one connection.
#[derive(Debug)]
pub(crate) struct ConnectionSession {
    sessions: Arc<Sessions>,
    key: SessionKey,
    /// The version of the connection, in the records for other nodes; 0 without these.
    pub(super) version: u64,
    /// True if its first record is kept.
    pub(super) is_noted: bool,
    /// The time from which the times of pings count.
    start: Instant,
    /// The shortest time between two pings, in milliseconds. `None` if their answers prove nothing (`Options::pong_proofs`).
    proof_interval: Option<u64>,
    /// The proof of what the client has received. Locked behind the outbox, so that its order is that of the frames.
    pub(crate) proof: Mutex<Proof>,
    /// The channels whose histories the proof watches. Locked ahead of the proof.
    channels: Mutex<Vec<(Epoch, ChannelName)>>,
    /// The sum of the hashes of the positions in the last record of the session: it shows if they have moved since.
    recorded: AtomicU64,
    /// The positions of the connection before. Each is used once.
    ticket: Mutex<Option<Ticket>>,
    /// The messages that were handled, from the first one that the client may repeat.
    answers: OnceLock<Arc<Answers>>,
    /// The position of the last event of a stream that the client has received. Used once, as the positions of the ticket.
    last_event: Mutex<Option<Position>>,
    /// The client may have had positions, which could not be read.
    is_unknown: bool,
    /// The number of the client's attempt to connect.
    pub(super) attempt: u64,
    /// The time until which the ticket is kept in the table that it was copied from; `None` if there was none.
    claimed: Option<Instant>,
    /// Notified when a ping was answered, and when the connection has left its channels.
    changed: Notify,
    has_left: AtomicBool,
}

impl ConnectionSession {
    pub(crate) fn new(
        sessions: &Arc<Sessions>,
        key: SessionKey,
        kept: Option<KeptTicket>,
        last_event: Option<Position>,
        pongs_prove: bool,
    ) -> Box<ConnectionSession> {
        let (ticket, claimed) = kept.map(|KeptTicket { ticket, until }| (ticket, until)).unzip();
        let answers = ticket.as_ref().and_then(|ticket| ticket.answers.clone());
        Box::new(ConnectionSession {
            sessions: Arc::clone(sessions),
            key,
            version: ticket.as_ref().map_or(0, |ticket| ticket.version),
            is_noted: false,
            start: Instant::now(),
            proof_interval: pongs_prove.then_some(sessions.proof_interval),
            proof: Mutex::default(),
            channels: Mutex::default(),
            recorded: AtomicU64::new(0),
            ticket: Mutex::new(ticket),
            answers: answers.map(OnceLock::from).unwrap_or_default(),
            last_event: Mutex::new(last_event),
            is_unknown: false,
            attempt: 0,
            claimed: claimed.flatten(),
            changed: Notify::new(),
            has_left: AtomicBool::new(false),
        })
    }

    pub(super) fn key(&self) -> SessionKey {
        self.key
    }

    /// The version of the connection before, if its positions are known.
    pub(super) fn ticket_version(&self) -> Option<u64> {
        self.ticket.lock().as_ref().map(|ticket| ticket.version)
    }

    /// Goes on from other positions.
    pub(super) fn set_ticket(&mut self, ticket: Ticket) {
        self.answers = ticket.answers.clone().map(OnceLock::from).unwrap_or_default();
        *self.ticket.lock() = Some(ticket);
        self.is_unknown = false;
    }

    /// The client may have been at another node since: what it has been sent, or where it was, is not known.
    pub(super) fn doubt_ticket(&mut self) {
        let mut ticket = self.ticket.lock();
        self.is_unknown = ticket.is_none();
        for (_, progress) in ticket.iter_mut().flat_map(|ticket| &mut ticket.channels) {
            progress.sent = u64::MAX;
        }
    }

    /// A client without positions that has received an event was here before: they are gone, with the server that had them for
    /// example.
    pub(super) fn note_last_event(&mut self) {
        if self.last_event.lock().is_some() && self.ticket.lock().is_none() {
            self.is_unknown = true;
        }
    }

    /// Goes on from the positions of a connection that was made while this one was.
    fn go_on_from(&self, ticket: Ticket) {
        if let Some(answers) = ticket.answers.clone() {
            // An error means that the connection has those of the ticket from which both have gone on.
            let _ = self.answers.set(answers);
        }
        *self.ticket.lock() = Some(ticket);
    }

    /// The positions are not used any more: the client is connected to another node.
    pub(super) fn drop_ticket(&self) {
        *self.ticket.lock() = None;
    }

    /// Acquires the session in the store, in place of the connection whose record has the version `replaces`. Returns `false` if another
    /// node has done so first, and `None` if that is not known, or nothing is known of the session.
    pub(super) async fn acquire(&self, shared: &SharedSessions, replaces: u64) -> Option<bool> {
        let user = self.user()?;
        let positions = self.positions();
        shared.acquire(&self.key.to_string(), self.known(&user, &positions), replaces, RECORD_TTL).await
    }

    /// The facts that go into the record.
    pub(super) fn known<'a>(&'a self, user: &'a UserId, positions: &'a Positions) -> Known<'a> {
        let answers = self.answers.get().map(|answers| &**answers);
        Known { version: self.version, user, positions, answers }
    }

    /// The connection has been made.
    pub(crate) fn begin(&self, id: ConnectionId, user: &UserId, connection: Weak<dyn SessionConnection>) -> Begun {
        let live = Entry::Live { id, attempt: self.attempt, connection };
        let (begun, other) = self.sessions.begin(self.key, user, self.claimed, live);
        if let Some(Other { ticket: Some(ticket), connection }) = other {
            self.go_on_from(ticket);
            connection.iter().for_each(|connection| connection.supersede());
        }
        if begun == Begun::Kept && !self.is_noted {
            self.sessions.write_record(self.key, self.known(user, &self.positions()));
        }
        begun
    }

    /// The client is owed what comes behind a position of a channel, and earlier connections were sent messages up to an offset.
    pub(crate) fn watch(&self, channel: &ChannelName, from: Position, sent_before: u64) {
        let mut channels = self.channels.lock();
        channels.retain(|(epoch, name)| *epoch != from.epoch && name != channel);
        channels.push((from.epoch, channel.clone()));
        self.proof.lock().watch(from, sent_before);
    }

    /// Messages were sent that are for this connection, but not all of those around them.
    pub(crate) fn note_late(&self, runs: &[Run<Bytes>]) {
        let mut proof = self.proof.lock();
        for Run { kept, frames, .. } in runs {
            if let Some(Position { epoch, offset }) = *kept {
                proof.sent_late(Position { epoch, offset: offset + u64::from(frames.saturating_sub(1)) });
            }
        }
    }

    /// The client is told that it misses messages of a channel, and is owed what comes behind a position.
    pub(crate) fn skip(&self, channel: &ChannelName, next: Position) {
        let mut channels = self.channels.lock();
        // Not the history of the missing messages: it may be one of this node alone, which began without a notice.
        let watched = channels.iter().find(|(_, name)| name == channel).map(|(epoch, _)| *epoch);
        channels.retain(|(epoch, name)| *epoch != next.epoch && name != channel);
        channels.push((next.epoch, channel.clone()));
        self.proof.lock().skip(watched, next);
    }

    /// The progress of the client in a channel: the offsets that it was sent, and those that it has received for certain.
    pub(crate) fn progress(&self, channel: &ChannelName) -> Option<Progress> {
        let (channels, proof) = (self.channels.lock(), self.proof.lock());
        let (epoch, _) = channels.iter().find(|(_, name)| name == channel)?;
        proof.progress(*epoch)
    }

    /// Nothing of a history is owed to the client any more.
    pub(crate) fn forget(&self, epoch: Epoch) {
        let mut channels = self.channels.lock();
        channels.retain(|(other, _)| *other != epoch);
        self.proof.lock().forget(epoch);
    }

    /// The positions of the client in its channels, and those of the connection before in the others.
    pub(super) fn positions(&self) -> Positions {
        let (channels, proof) = (self.channels.lock(), self.proof.lock());
        let own = channels.iter().filter_map(|(epoch, name)| Some((name.clone(), proof.progress(*epoch)?)));
        let mut positions: Positions = own.collect();
        drop((channels, proof));
        let ticket = self.ticket.lock();
        positions.extend(ticket.iter().flat_map(|ticket| ticket.channels.iter().cloned()));
        positions.truncate(MAX_CHANNELS);
        positions
    }

    /// The ticket of a connection that has not left its channels, and may send on: what its client was sent is not known.
    pub(super) fn doubtful_ticket(&self, user: &UserId) -> Ticket {
        let doubtful = |(name, progress): (ChannelName, Progress)| (name, Progress { sent: u64::MAX, ..progress });
        let channels = self.positions().into_iter().map(doubtful).collect();
        Ticket { version: self.version, user: user.clone(), channels, answers: self.answers.get().cloned() }
    }

    /// The positions, if they have moved since they were taken last, or the store may have lost the record of these.
    pub(super) fn moved(&self) -> Option<Positions> {
        let positions = self.positions();
        // With the epoch: a history that has begun anew may be at the same offset. Their order does not matter.
        let hash = |(channel, Progress { epoch, proven, .. }): &(ChannelName, Progress)| {
            let mut hasher = DefaultHasher::new();
            (channel.as_str(), epoch, proven).hash(&mut hasher);
            hasher.finish()
        };
        let sum = positions.iter().map(hash).fold(0, u64::wrapping_add);
        // A record of positions that do not move is written twice a day, so that it does not expire.
        let sum = sum.wrapping_add(self.start.elapsed().as_secs() / (12 * 3600));
        let sum = sum.wrapping_add(self.sessions.losses.load(Ordering::Relaxed));
        // Relaxed: it may be read and written in any order, and at worst a record is written twice.
        (self.recorded.swap(sum, Ordering::Relaxed) != sum).then_some(positions)
    }

    /// Records the positions for other nodes at once, because the client has joined a channel. Without a record of that it would
    /// be a new client there.
    pub(crate) fn record(&self, user: &UserId) {
        if self.sessions.shared.get().is_some()
            && let Some(positions) = self.moved()
        {
            self.sessions.write_record(self.key, self.known(user, &positions));
        }
    }

    /// The time, in milliseconds.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The shortest time between two pings, in milliseconds. `None` if their answers prove nothing (`Options::pong_proofs`).
    pub(crate) fn proof_interval(&self) -> Option<u64> {
        self.proof_interval
    }

    /// The position of the connection before in a channel.
    pub(crate) fn position(&self, channel: &str) -> Option<Progress> {
        let ticket = self.ticket.lock();
        let found = ticket.as_ref()?.channels.iter().find(|(name, _)| name.as_str() == channel);
        found.map(|(_, progress)| *progress)
    }

    /// Returns `true` if the client may have had positions, which the server could not read.
    pub(crate) fn is_unknown(&self) -> bool {
        self.is_unknown
    }

    /// The position of the last event that the client has received, in whichever channel it was.
    pub(crate) fn last_event(&self) -> Option<Position> {
        *self.last_event.lock()
    }

    /// The user of the connection before.
    pub(crate) fn user(&self) -> Option<UserId> {
        self.ticket.lock().as_ref().map(|ticket| ticket.user.clone())
    }

    /// The messages of the session that were handled.
    pub(crate) fn answers(&self) -> Arc<Answers> {
        Arc::clone(self.answers.get_or_init(|| Arc::new(Answers::new(&self.sessions.memory))))
    }

    /// Uses up the position in a channel, whose history has this epoch: the client has joined it.
    pub(crate) fn use_up(&self, channel: &str, epoch: Option<Epoch>) {
        self.last_event.lock().take_if(|position| Some(position.epoch) == epoch);
        if let Some(ticket) = &mut *self.ticket.lock() {
            ticket.channels.retain(|(name, _)| name.as_str() != channel);
        }
    }

    /// The connection has left its channels. `channels` are the positions there; `None` if the client has ended the session.
    pub(crate) fn leave(&self, id: ConnectionId, user: &UserId, channels: Option<Vec<(ChannelName, Progress)>>) {
        let unused = self.ticket.lock().take();
        let ticket = channels.map(|channels| {
            // Channels that it has not joined again keep their positions.
            let unused = unused.map(|ticket| ticket.channels).unwrap_or_default();
            // With no more room than is needed: tickets are kept for a while, and most are of one channel.
            let mut all = Vec::with_capacity((channels.len() + unused.len()).min(MAX_CHANNELS));
            all.extend(channels.into_iter().chain(unused).take(MAX_CHANNELS));
            Ticket { version: self.version, user: user.clone(), channels: all, answers: self.answers.get().cloned() }
        });
        self.sessions.end(self.key, self.version, id, ticket);
        // Release: a task that sees the flag finds the ticket.
        self.has_left.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// The client has received all that this connection was sent. In channels that it has not joined, or where it has not got as far
    /// as an earlier connection, that proves nothing.
    pub(crate) fn prove(&self, user: &UserId) {
        let (channels, proof) = (self.channels.lock(), self.proof.lock());
        let own = channels.iter().filter_map(|(epoch, channel)| {
            let (progress, with_earlier) = (proof.progress(*epoch)?, proof.covers_earlier(*epoch));
            Some(ReceivedAll { channel: channel.clone(), progress, with_earlier })
        });
        let own: Vec<_> = own.collect();
        drop((channels, proof));
        self.sessions.prove(self.key, user, &own);
    }

    pub(crate) fn note_answer(&self) {
        self.changed.notify_waiters();
    }

    /// Waits until a condition holds, which is looked at after each answer, or the connection has left its channels.
    pub(super) async fn changed(&self, holds: impl Fn() -> bool) {
        changes::until(&self.changed, || self.has_left.load(Ordering::Acquire) || holds()).await;
    }
}

impl Drop for ConnectionSession {
    fn drop(&mut self) {
        // The connection was never established: the client has gone during the upgrade, and will come again.
        if !*self.has_left.get_mut()
            && let Some(ticket) = self.ticket.lock().take()
        {
            self.sessions.put_back(self.key, Ticket { version: self.version, ..ticket });
        }
        // Only now, because until its end the client may prove more.
        self.sessions.store_ticket(self.key);
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::memory::Memory;

    #[tokio::test]
    async fn a_record_is_written_again_also_if_a_position_moves_to_the_same_offset_of_another_history() {
        let memory = Arc::new(Memory::default());
        let sessions = Arc::new(Sessions::new(Duration::from_secs(9), Duration::ZERO, 9, memory));
        let key = SessionKey::of("0123456789abcdef", None);
        let session = ConnectionSession::new(&sessions, key, None, None, true);
        assert_eq!(session.moved(), None, "a new client has none");
        let watch = |channel: &str, epoch: u32| {
            let channel = ChannelName::new(channel, 99).expect("a name");
            session.watch(&channel, Position { epoch: Epoch::new(epoch), offset: 10 }, 0);
            let written = session.moved().map(|positions| positions[0].1.epoch);
            (written, session.moved())
        };
        assert_eq!(watch("/a", 1), (Some(Epoch::new(1)), None));
        assert_eq!(watch("/a", 1), (None, None));
        assert_eq!(watch("/a", 2), (Some(Epoch::new(2)), None));
        assert_eq!(watch("/b", 2), (Some(Epoch::new(2)), None));
    }
}
