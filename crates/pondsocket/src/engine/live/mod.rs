//! A live channel: its state behind one lock, and the delivery token, which one task at a time holds to deliver.
//!
//! Changes append to the channel's queue under the lock and return; the lock's order is the total order in which members
//! receive them. Delivery runs outside of application code, by one task at a time, which is the one that has taken the list
//! of recipients out of the lock (`delivery.rs`). A change does not deliver: it is given a [`Flusher`], which starts the
//! delivery (`flush.rs`).
//!
//! ```text
//!  change --(lock: state, queue)--> Flusher --> flush --(no task holds it)------> DeliveryTask
//!                                                                                    |  ^
//!                                                              take a portion, write |  | more is queued
//!                                                                                    v  |
//!                                              the token is returned <---(queue empty)--'
//! ```

mod catch_up;
mod delivery;
mod fan_out;
mod flush;
mod interfaces;
#[cfg(all(test, pond_loom))]
mod model;
mod shared;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pondsocket_proto::channel::{
    Channel, ChannelLimits, DeliveryPolicy, Departure, NotMember, Recipients, Refused, ResumeRequest, Ring, SavedGhost,
    SavedRing, Slot,
};
use pondsocket_proto::id::{ChannelName, ConnectionId, UserId};
use pondsocket_proto::position::{Epoch, Position};
use pondsocket_proto::wire::Resume;

use crate::engine::history::{ChannelHistory, GhostAccount, Histories, HistoryAccount, HistoryHold};
use crate::engine::hub::Hub;
use crate::engine::ids;
use crate::engine::outbox::Source;
use crate::engine::pace::Allowance;
use crate::engine::sync::{Mutex, MutexGuard};
use crate::engine::timer::SharedTimer;
use crate::limits::memory::{Charge, Memory};

#[cfg(not(all(test, pond_loom)))]
use tokio::runtime::Handle as Home;

#[cfg(all(test, pond_loom))]
use model::Home;

pub(crate) use flush::{AtOnce, ChangedChannels, FlushScope, Flusher};
pub(crate) use interfaces::{FilterDecision, GhostEnds, OutgoingFilter, Reached, Recipient, Replication, Rules};

#[cfg(all(test, pond_loom))]
use delivery::DeliveryStep;
use delivery::DeliveryTask;

/// The memory of a channel that only its history keeps open, in bytes. It counts as a part of the history, so that the limit of
/// all histories bounds the number of such channels.
const CHANNEL_BYTES: usize = 1024;

/// The most ghosts that leave a channel under one lock: those of a whole server may end together.
const GHOSTS_PER_TURN: usize = 256;

/// The time for which channels wait for their members.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pacing {
    /// The time in each channel for members that take nothing.
    pub(crate) budget: Duration,
    /// The time between two presence lists of a large channel, in milliseconds.
    pub(crate) presence_interval: u32,
    pub(crate) timer: SharedTimer,
}

/// The ghosts whose grace ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum GraceEnd {
    /// Those that have not come back in time.
    Due,
    All,
    /// All, because the server shuts down: other nodes take them over.
    Shutdown,
    /// Those that were not saved for the next server.
    Unsaved,
}

/// A channel with members, or with a first one that is joining.
pub(crate) struct LiveChannel<L: Rules> {
    pub(crate) name: ChannelName,
    /// The lobby of the join that created the channel.
    pub(crate) lobby: Arc<L>,
    /// A number that no other live channel has, not even an earlier one of the same name.
    pub(crate) serial: u64,
    /// `None` if there are no other nodes.
    replication: Option<Arc<dyn Replication>>,
    hub: Weak<Hub<L>>,
    /// The runtime of the join that created the channel. Deliveries do not run on that of a publisher, which may be blocked or
    /// end, and would stop the whole channel.
    home: Option<Home>,
    /// True if the channel has had a member.
    opened: AtomicBool,
    /// The time between two presence lists while the channel is large, in milliseconds.
    presence_interval: u32,
    timer: SharedTimer,
    memory: Arc<Memory>,
    histories: Arc<Histories>,
    core: Mutex<Core<L::Recipient>>,
}

/// The part of a channel that its lock guards.
#[derive(Debug)]
struct Core<R> {
    channel: Channel<R>,
    /// The delivery token; `None` while a task delivers.
    token: Option<Recipients<R>>,
    /// The publishers that wait for room in the queue.
    waiting: Vec<Waker>,
    /// The remaining time for which the channel may wait for members that take nothing.
    allowance: Allowance,
    /// The bytes in the queue and in the batch that is being delivered.
    charge: Charge,
    /// The bytes of that batch.
    delivering: usize,
    /// True if the channel has left the hub. Set and checked under this lock, so that a join either comes before the close or
    /// asks the hub again.
    closed: bool,
    /// True if other nodes know that the channel is open.
    replicated: bool,
    /// The memory of the history, if the channel keeps one.
    history: Option<HistoryAccount>,
    ghosts: GhostAccount,
    /// The time of the last presence list of a large channel ([`Timer::millis`](crate::engine::timer::Timer::millis)).
    listed_at: u32,
}

/// The state of a channel's queue right after a change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueState {
    /// True if the queue is not empty and no task delivers it.
    has_work: bool,
    /// True if the queue is over its soft limit, so that connections that publish into the channel should not be read.
    is_crowded: bool,
}

impl<R> Core<R> {
    /// Reports the memory of the channel. Called after each change of the queue.
    fn report(&mut self) {
        self.charge.set(self.channel.queued().1 + self.delivering);
        if let (Some(account), Some(ring)) = (&mut self.history, self.channel.history()) {
            account.set(CHANNEL_BYTES + ring.bytes());
        }
        self.ghosts.set(self.channel.local_members().ghost_count());
    }

    /// Removes what has expired from the history.
    fn advance_history(&mut self) {
        if let (Some(account), Some(ring)) = (&self.history, self.channel.history_mut()) {
            ring.advance(account.now());
        }
    }

    /// Returns `true` if nobody needs the channel any more: it has no member, delivers nothing, and keeps nothing.
    fn is_over(&self) -> bool {
        let keeps = self.channel.history().is_some_and(Ring::is_needed);
        let waits = self.channel.is_loading() || self.channel.awaits_positions();
        !keeps && !waits && self.channel.local_members().member_count() == 0
    }

    fn after_change(&mut self) -> QueueState {
        self.report();
        let has_work = self.token.is_some() && self.channel.has_queued();
        QueueState { has_work, is_crowded: self.channel.is_crowded() }
    }

    /// Returns `true` if nothing is on its way to any member.
    fn is_quiet(&self) -> bool {
        self.token.is_some() && !self.channel.has_queued() && !self.channel.awaits_positions()
    }
}

impl<L: Rules> LiveChannel<L> {
    pub(crate) fn new(
        name: ChannelName,
        lobby: Arc<L>,
        (limits, pacing, memory, histories): (ChannelLimits, Pacing, &Arc<Memory>, &Arc<Histories>),
        replication: Option<Arc<dyn Replication>>,
        hub: Weak<Hub<L>>,
    ) -> Arc<Self> {
        let mut channel = Channel::new(name.clone(), limits, ids::fresh);
        if replication.is_some() {
            channel = channel.replicated();
        }
        let serial = ids::serial();
        let (mut history, mut replicated) = (None, false);
        if let Some(rules) = lobby.history() {
            let grace = lobby.presence_grace();
            let opens = |replication: &Arc<dyn Replication>| replication.open_history(&name, serial, grace, &rules);
            replicated = replication.as_ref().is_some_and(opens);
            let ring = Ring::new(rules, ids::fresh_epoch());
            channel = if replicated { channel.with_shared_history(ring) } else { channel.with_history(ring) };
            histories.start();
            history = Some(histories.account());
        }
        let core = Core {
            channel,
            token: Some(Recipients::default()),
            waiting: Vec::new(),
            allowance: Allowance::new(pacing.budget),
            charge: Charge::new(memory),
            delivering: 0,
            closed: false,
            replicated,
            history,
            ghosts: histories.ghost_account(),
            // The first list waits for nothing, however young the timer is.
            listed_at: 0_u32.wrapping_sub(pacing.presence_interval),
        };
        let home = Home::try_current().ok();
        let (opened, core) = (AtomicBool::new(false), Mutex::new(core));
        let Pacing { presence_interval, timer, .. } = pacing;
        let (memory, histories) = (Arc::clone(memory), Arc::clone(histories));
        Arc::new(LiveChannel {
            name,
            lobby,
            serial,
            replication,
            hub,
            home,
            opened,
            presence_interval,
            timer,
            memory,
            histories,
            core,
        })
    }

    /// The channel, for the outboxes of its recipients.
    fn source(&self) -> Source<'_> {
        Source { name: &self.name, serial: self.serial }
    }

    /// Notifies the lobby of the first join.
    pub(crate) fn open(&self) {
        // Relaxed: it only decides which of several joins notifies, and orders nothing else.
        if !self.opened.swap(true, Ordering::Relaxed) {
            self.lobby.opened(self.name.as_str());
        }
    }

    /// The policy of messages of this event.
    pub(crate) fn delivery_policy(&self, event: &str) -> DeliveryPolicy {
        self.lobby.delivery_policy(event)
    }

    /// Changes the channel. The flusher starts the delivery of the resulting messages. `Err` returns the change, if the channel
    /// has closed.
    pub(crate) fn change<T, F: FnOnce(&mut Channel<L::Recipient>) -> T>(
        self: &Arc<Self>,
        flusher: impl Flusher<L>,
        change: F,
    ) -> Result<T, F> {
        self.apply(flusher, change, |change, channel| change(channel))
    }

    /// Adds a connection. The messages that its join chains follow the rules of the channel's lobby, which may be another one
    /// than that of the join.
    pub(crate) fn join<T, F: FnOnce(&mut Channel<L::Recipient>, &L) -> T>(
        self: &Arc<Self>,
        flusher: impl Flusher<L>,
        join: F,
    ) -> Result<T, F> {
        self.apply(flusher, join, |join, channel| join(channel, &self.lobby))
    }

    fn apply<T, F>(
        self: &Arc<Self>,
        flusher: impl Flusher<L>,
        change: F,
        apply: impl FnOnce(F, &mut Channel<L::Recipient>) -> T,
    ) -> Result<T, F> {
        let mut core = self.core.lock();
        if core.closed {
            return Err(change);
        }
        core.advance_history();
        let answer = apply(change, &mut core.channel);
        self.replicate(&mut core);
        let state = core.after_change();
        drop(core);
        self.follow(flusher, state);
        Ok(answer)
    }

    /// Calls the flusher, if a change has left work for it.
    fn follow(self: &Arc<Self>, flusher: impl Flusher<L>, state: QueueState) {
        if state.has_work || state.is_crowded {
            flusher.changed(self, state);
        }
    }

    /// Passes changes on to other nodes. Under the lock, whose order is the one in which other nodes receive them.
    fn replicate(&self, core: &mut Core<L::Recipient>) {
        let Some(replication) = &self.replication else { return };
        let outbound = core.channel.take_outbound();
        if outbound.is_empty() {
            return;
        }
        if !std::mem::replace(&mut core.replicated, true) {
            replication.opened(&self.name, self.serial, self.lobby.presence_grace());
        }
        replication.replicate(&self.name, self.serial, outbound);
    }

    /// Reads the state of the channel under its lock.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Channel<L::Recipient>) -> T) -> T {
        look(&self.core.lock().channel)
    }

    /// Returns whether this slot of the channel is that of the connection.
    pub(crate) fn is_seated(&self, slot: Slot, connection: ConnectionId) -> bool {
        self.read(|channel| channel.local_members().is_seated(slot, connection))
    }

    /// Answers one connection: directly if no message is queued for it and no outgoing handler decides about the answer,
    /// otherwise through the queue.
    pub(crate) fn reply(
        self: &Arc<Self>,
        flusher: impl Flusher<L>,
        to: &L::Recipient,
        slot: Slot,
        text: &[u8],
        policy: DeliveryPolicy,
    ) -> Result<(), Refused> {
        let connection = to.connection();
        let mut core = self.core.lock();
        if !core.is_quiet() || policy.filtered {
            let replied = core.channel.reply(slot, connection, text, policy);
            let state = core.after_change();
            drop(core);
            self.follow(flusher, state);
            return replied;
        }
        if !core.channel.local_members().is_seated(slot, connection) {
            return Err(NotMember.into());
        }
        // Sent under the lock, so that no later message of the queue can overtake it. Wakers and metrics run after the lock.
        let sent = to.send(text);
        drop(core);
        sent();
        Ok(())
    }

    /// Sends a message to a connection that is no member, behind the messages that it gets as an earlier member.
    pub(crate) fn send_to_outsider(self: &Arc<Self>, flusher: impl Flusher<L>, to: &L::Recipient, text: &[u8]) {
        let mut core = self.core.lock();
        if core.is_quiet() {
            let sent = to.send(text);
            drop(core);
            return sent();
        }
        // The task that holds the token, or will take it for the queued messages, delivers this one too.
        to.expect_flush_marker();
        core.channel.send_to_outsider(to.clone(), text);
        core.channel.push_flush_marker(to.clone());
        let state = core.after_change();
        drop(core);
        self.follow(flusher, state);
    }

    /// Sends a flush marker behind the last message for a connection that has left the channel. The close frame of the
    /// connection waits for it.
    pub(crate) fn send_flush_marker(self: &Arc<Self>, flusher: impl Flusher<L>, to: &L::Recipient) {
        to.expect_flush_marker();
        if self.change(flusher, |channel| channel.push_flush_marker(to.clone())).is_err() {
            // A closed channel has delivered all messages.
            to.receive_flush_marker();
        }
    }

    /// Starts a delivery task, if the queue is not empty and no task delivers.
    fn flush(self: &Arc<Self>) {
        self.take_token().into_iter().for_each(DeliveryTask::start);
    }

    /// Takes the token, if no task holds it and the queue is not empty.
    fn take_token(self: &Arc<Self>) -> Option<DeliveryTask<L>> {
        let mut core = self.core.lock();
        if !core.channel.has_queued() {
            return None;
        }
        let recipients = core.token.take()?;
        Some(DeliveryTask::new(Arc::clone(self), recipients))
    }

    /// Begins the presence grace of a member that loses its last connection now. Returns the time of its end, by the clock of
    /// the histories; `None` if the lobby has none.
    pub(crate) fn begin_grace(&self) -> Option<u64> {
        let grace = self.lobby.presence_grace();
        (grace > 0).then(|| {
            // The task ends the grace, also where no channel keeps a history.
            self.histories.start();
            self.histories.now() + grace
        })
    }

    /// Returns `true` if the server may have one more ghost.
    pub(crate) fn has_room_for_ghost(&self) -> bool {
        self.histories.has_room_for_ghost()
    }

    /// Ends the grace of ghosts.
    pub(crate) fn end_ghosts(self: &Arc<Self>, which: GraceEnd) -> Vec<Departure> {
        let now = if which == GraceEnd::Due { self.histories.now() } else { u64::MAX };
        let mut gone = Vec::new();
        while self.read(|channel| channel.local_members().ghost_count() > 0) {
            let before = gone.len();
            let some = self.change(AtOnce, |channel| match which {
                GraceEnd::Due | GraceEnd::All => channel.expire_ghosts(now, GHOSTS_PER_TURN),
                GraceEnd::Shutdown => channel.abandon_ghosts(GHOSTS_PER_TURN),
                GraceEnd::Unsaved => channel.end_unsaved_ghosts(GHOSTS_PER_TURN),
            });
            gone.extend(some.unwrap_or_default());
            if gone.len() - before < GHOSTS_PER_TURN {
                break;
            }
        }
        gone
    }

    /// Removes what has expired from the history, and closes the channel if nobody needs it any more.
    pub(crate) fn expire(self: &Arc<Self>) {
        let mut core = self.core.lock();
        // A channel that waits for its first join is not closed, unless messages may have opened it.
        if core.closed || core.history.is_none() && !self.opened.load(Ordering::Relaxed) {
            return;
        }
        core.advance_history();
        core.report();
        if core.is_quiet() && core.is_over() {
            self.close(core);
        }
    }

    /// Closes the channel, and takes it out of the hub.
    fn close(self: &Arc<Self>, mut core: MutexGuard<'_, Core<L::Recipient>>) {
        core.closed = true;
        if let Some(replication) = self.replication.as_ref().filter(|_| core.replicated) {
            replication.closed(&self.name, self.serial);
        }
        // A hub's shard is locked before a channel, never behind it.
        drop(core);
        if let Some(hub) = self.hub.upgrade() {
            hub.remove(self);
        }
        // A channel that only messages have opened has had no member.
        if self.opened.load(Ordering::Relaxed) {
            self.lobby.closed(self.name.as_str());
        }
    }

    /// The epoch of the history; `None` if the channel keeps none.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.read(|channel| channel.history().map(|history| history.position().epoch))
    }

    /// Goes on with the history of an earlier server, if this channel keeps one of its own, and with its ghosts, which were
    /// saved `ago` milliseconds ago. Those over the limit of ghosts leave soon.
    pub(crate) fn restore(&self, history: Option<Ring>, ghosts: Vec<SavedGhost>, ago: u64) {
        let mut core = self.core.lock();
        let is_shared = core.channel.shares_history();
        if let (Some(ring), Some(history)) = (core.channel.history_mut().filter(|_| !is_shared), history) {
            *ring = history;
        }
        if !ghosts.is_empty() {
            // The task ends the grace, also where no channel keeps a history.
            self.histories.start();
        }
        let now = self.histories.now();
        for ghost in ghosts {
            let left = if self.histories.has_room_for_ghost() { ghost.left.saturating_sub(ago) } else { 0 };
            core.channel.restore_ghost(ghost, now.saturating_add(left));
            core.report();
        }
        core.report();
    }

    /// A copy of the history, if somebody may need it, and of the ghosts, which are for the next server alone from now on. A
    /// history that nodes share is in the store of the bus.
    pub(crate) fn save(&self, largest_ghost: usize) -> (Option<SavedRing>, Vec<SavedGhost>) {
        let mut core = self.core.lock();
        core.advance_history();
        let is_shared = core.channel.shares_history();
        let ring = core.channel.history().filter(|history| history.is_needed() && !is_shared).map(Ring::save);
        (ring, core.channel.save_ghosts(self.histories.now(), largest_ghost))
    }

    /// The texts of the last messages that are kept, the oldest first.
    pub(crate) fn kept(&self, messages: usize) -> Vec<Vec<u8>> {
        let mut core = self.core.lock();
        core.advance_history();
        core.channel.history().map_or_else(Vec::new, |history| history.last(messages))
    }

    /// The recovery of a user that asks to resume, with the messages that it needs held until the answer is dropped. `None`
    /// without a history.
    pub(crate) fn hold(self: &Arc<Self>, user: &UserId, request: Option<ResumeRequest>) -> Option<HistoryHold> {
        let mut core = self.core.lock();
        if core.closed {
            return None;
        }
        core.advance_history();
        let recovery = core.channel.recovery(user, request);
        let ring = core.channel.history_mut()?;
        let offset = match request.map(|request| request.resume) {
            Some(Resume::From(from)) if recovery.is_complete() => from.offset,
            _ => ring.position().offset,
        };
        let held = ring.hold(offset);
        drop(core);
        let channel: Arc<dyn ChannelHistory> = Arc::clone(self) as _;
        Some(HistoryHold::new(channel, held, recovery))
    }

    /// Waits until publishers need not pause.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut core = self.core.lock();
        if core.closed || !core.channel.is_crowded() {
            return Poll::Ready(());
        }
        if !core.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            core.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl<L: Rules> ChannelHistory for LiveChannel<L> {
    fn position(&self) -> Option<Position> {
        self.read(|channel| channel.history().map(Ring::position))
    }

    fn release(&self, held: Position) {
        if let Some(ring) = self.core.lock().channel.history_mut() {
            ring.release(held);
        }
    }

    fn used_at(&self) -> u64 {
        self.read(|channel| channel.history().map_or(0, Ring::used_at))
    }

    fn clear(&self, even_held: bool) {
        let mut core = self.core.lock();
        let removed = core.channel.history_mut().map_or(0, |ring| ring.clear(even_held));
        core.report();
        // Counting calls the application's metrics.
        drop(core);
        if removed > 0 {
            self.lobby.history_emptied(self.name.as_str(), removed);
        }
    }
}

impl<L: Rules> fmt::Debug for LiveChannel<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveChannel").field("name", &self.name.as_str()).finish_non_exhaustive()
    }
}
