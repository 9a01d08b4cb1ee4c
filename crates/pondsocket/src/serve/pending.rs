//! The sockets that are not a WebSocket or an event stream yet, and the choice of the one to evict when there are too many.
//!
//! A socket that has sent no complete request costs an attacker nothing and costs the server one permit, so their number is
//! bounded. Sockets are accepted even when all permits are taken, because the kind of client is known only after its request
//! has been read:
//!
//! ```text
//! max_pending permits      above that number a new socket needs another one to be evicted
//! max_pending requests     above that number requests are queued; a queued request is answered 503 when the permits below
//!                          are taken, too
//! pending_reserve permits  for sockets whose request is a probe, which is answered at once, or is queued
//! ```
//!
//! A new socket evicts, in this order, a socket
//!
//! 1. that is idle after a response: the one that has been idle for the longest time;
//! 2. from which bytes are awaited, of the address with the most sockets here: the one that has been awaited for the longest
//!    time, regardless of how long if the new socket's address has fewer sockets, and otherwise only after
//!    `pressure_timeout`;
//! 3. from which bytes have been awaited for longer than `pressure_timeout`, of any address.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::ServerOptions;
use super::progress::{Progress, StreamGuard, WaitState};
use crate::engine::stream::Stream;
use crate::engine::sync::Mutex;
use crate::limits::gauge::{Gauge, Permit};
use crate::metrics::SocketCloseReason;

/// The shortest time for which a request is queued before it is answered 503 to make room for others.
const MIN_QUEUE_TIME: Duration = Duration::from_millis(100);

/// The time for which the candidates found in a large pool are reused: to find them costs some microseconds for each
/// hundred sockets, and a flood of new sockets would pay that for each of them.
const CANDIDATES_LIFETIME: Duration = Duration::from_millis(10);

/// The largest pool whose candidates are found anew for each new socket.
const SMALL_POOL: usize = 256;

/// The most sockets that have been evicted and whose tasks have not ended yet. Eviction takes a socket out of the pool at
/// once, so without this bound a flood of new sockets could have any number of tasks.
const MAX_EVICTED: usize = 1024;

/// The permits of one listener, or of several that share them.
pub(super) struct PendingPool {
    max: usize,
    reserve: usize,
    pressure_timeout: Duration,
    table: Mutex<PendingTable>,
    /// The tasks of sockets that are not upgraded, also of those that have been evicted.
    tasks: Arc<Gauge>,
    /// The number of sockets that are event streams, which are in the table and not counted.
    streams: Arc<Gauge>,
    /// One permit for each request that is being handled and is not a probe.
    requests: Semaphore,
    /// Notified when a new socket may find room.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct PendingTable {
    sockets: HashMap<u64, Arc<Progress>>,
    next: u64,
    candidates: Option<EvictionCandidates>,
}

/// The sockets that can be evicted, by kind; in each queue the first is evicted first.
struct EvictionCandidates {
    at: Instant,
    idle: VecDeque<Candidate>,
    /// Awaited sockets of the address with the most sockets.
    awaited_of_busiest: VecDeque<Candidate>,
    awaited_of_others: VecDeque<Candidate>,
    queued: VecDeque<Candidate>,
    busiest: Option<IpAddr>,
    counts: HashMap<IpAddr, usize>,
}

/// A socket, and the time since which it has been in the state that makes it a candidate.
#[derive(Clone, Copy)]
struct Candidate {
    id: u64,
    since: Instant,
}

impl PendingPool {
    pub(super) fn new(options: &ServerOptions) -> Arc<PendingPool> {
        Arc::new(PendingPool {
            max: options.max_pending,
            reserve: options.pending_reserve,
            pressure_timeout: options.pressure_timeout,
            table: Mutex::default(),
            tasks: Arc::default(),
            streams: Arc::default(),
            requests: Semaphore::new(options.max_pending.min(Semaphore::MAX_PERMITS)),
            changed: Notify::new(),
        })
    }

    /// Adds a socket to the pool until the permit is dropped, by evicting another one if need be. Its address counts, if it
    /// is known. Without room returns the time at which to try again, unless the pool changes before.
    ///
    /// The check and the addition are one step: several acceptors share the pool.
    pub(super) fn add(
        self: &Arc<PendingPool>,
        progress: &Arc<Progress>,
        address: Option<IpAddr>,
    ) -> Result<PendingPermit, Instant> {
        let now = Instant::now();
        let mut table = self.table.lock();
        if self.tasks.count().saturating_sub(self.streams.count()) >= self.limit().saturating_add(MAX_EVICTED) {
            return Err(now + MIN_QUEUE_TIME);
        }
        self.make_room(&mut table, address, now)?;
        let id = table.next;
        table.next += 1;
        table.sockets.insert(id, Arc::clone(progress));
        let task = Some(self.tasks.permit());
        Ok(PendingPermit { pool: Arc::clone(self), id, progress: Arc::clone(progress), task })
    }

    fn make_room(&self, table: &mut PendingTable, address: Option<IpAddr>, now: Instant) -> Result<(), Instant> {
        let taken = table.sockets.len().saturating_sub(self.streams.count());
        if taken < self.max {
            return Ok(());
        }
        let is_current =
            |candidates: &EvictionCandidates| taken > SMALL_POOL && now < candidates.at + CANDIDATES_LIFETIME;
        if !table.candidates.as_ref().is_some_and(is_current) {
            table.candidates = Some(EvictionCandidates::collect(&table.sockets, now));
        }
        let PendingTable { sockets, candidates, .. } = table;
        let Some(candidates) = candidates else { return Ok(()) };
        if candidates.evict_one(sockets, address, now, self.pressure_timeout) || taken < self.limit() {
            return Ok(());
        }
        candidates.reject_queued(sockets, now);
        Err(candidates.next_attempt(now, self.pressure_timeout))
    }

    /// The most sockets, evicted ones and event streams not counted.
    fn limit(&self) -> usize {
        self.max.saturating_add(self.reserve)
    }
}

impl EvictionCandidates {
    fn collect(sockets: &HashMap<u64, Arc<Progress>>, now: Instant) -> EvictionCandidates {
        let (mut idle, mut awaited, mut queued) = (Vec::new(), Vec::new(), Vec::new());
        let mut counts = HashMap::<IpAddr, usize>::new();
        for (id, progress) in sockets {
            let (state, address) = progress.wait_state();
            let candidate = |since| Candidate { id: *id, since };
            match state {
                WaitState::Stream => continue,
                WaitState::Handling => {}
                WaitState::Idle(since) => idle.push(candidate(since)),
                WaitState::Client(since) => awaited.push((candidate(since), address)),
                WaitState::Queued(since) => queued.push(candidate(since)),
            }
            if let Some(address) = address {
                *counts.entry(address).or_default() += 1;
            }
        }
        // Of two addresses with as many sockets the larger one is taken: the choice must not change from call to call.
        let busiest = counts.iter().max_by_key(|(address, count)| (**count, **address)).map(|(address, _)| *address);
        let (of_busiest, of_others) =
            awaited.into_iter().partition::<Vec<_>, _>(|(_, address)| address.is_some() && *address == busiest);
        let without_address =
            |awaited: Vec<(Candidate, _)>| awaited.into_iter().map(|(candidate, _)| candidate).collect();
        EvictionCandidates {
            at: now,
            idle: longest_first(idle),
            awaited_of_busiest: longest_first(without_address(of_busiest)),
            awaited_of_others: longest_first(without_address(of_others)),
            queued: longest_first(queued),
            busiest,
            counts,
        }
    }

    /// Evicts one socket in favour of a new one; returns `false` if none may be evicted.
    fn evict_one(
        &mut self,
        sockets: &mut HashMap<u64, Arc<Progress>>,
        address: Option<IpAddr>,
        now: Instant,
        pressure_timeout: Duration,
    ) -> bool {
        let count = |address: Option<IpAddr>| address.and_then(|it| self.counts.get(&it)).copied().unwrap_or(0);
        let most = count(self.busiest);
        // With the new socket counted: two addresses with equal numbers would otherwise evict each other in turns.
        let has_fewer = address != self.busiest && count(address) + 1 < most;
        let in_time = |candidate: &Candidate| now.saturating_duration_since(candidate.since) < pressure_timeout;
        let evicted = evict_first(&mut self.idle, sockets, WaitState::Idle, |_| false)
            || evict_first(&mut self.awaited_of_busiest, sockets, WaitState::Client, |candidate| {
                !has_fewer && in_time(candidate)
            })
            || evict_first(&mut self.awaited_of_others, sockets, WaitState::Client, in_time);
        if evicted && let Some(address) = address {
            *self.counts.entry(address).or_default() += 1;
        }
        evicted
    }

    /// Has the request that has been queued for the longest time answered 503. Its permit is given back only when the
    /// response has been written.
    fn reject_queued(&mut self, sockets: &HashMap<u64, Arc<Progress>>, now: Instant) {
        while let Some(first) = self.queued.front().filter(|first| now >= first.since + MIN_QUEUE_TIME) {
            let progress = sockets.get(&first.id).filter(|it| it.wait_state().0 == WaitState::Queued(first.since));
            self.queued.pop_front();
            if let Some(progress) = progress {
                progress.reject_queued();
                return;
            }
        }
    }

    /// The time at which a socket can be evicted, or a request rejected, that cannot be now.
    fn next_attempt(&self, now: Instant, pressure_timeout: Duration) -> Instant {
        let awaited = [&self.awaited_of_busiest, &self.awaited_of_others].into_iter().filter_map(VecDeque::front);
        let awaited = awaited.filter_map(|first| first.since.checked_add(pressure_timeout));
        let queued = self.queued.front().map(|first| first.since + MIN_QUEUE_TIME);
        // A socket that becomes a candidate meanwhile is found only when the candidates are collected again.
        let soon = now + MIN_QUEUE_TIME;
        awaited.chain(queued).filter(|at| *at > now).min().map_or(soon, |at| at.min(soon))
    }
}

fn longest_first(mut candidates: Vec<Candidate>) -> VecDeque<Candidate> {
    candidates.sort_unstable_by_key(|candidate| candidate.since);
    candidates.into()
}

/// Evicts the first candidate that is still in the state in which it was collected, unless it may stay.
fn evict_first(
    candidates: &mut VecDeque<Candidate>,
    sockets: &mut HashMap<u64, Arc<Progress>>,
    state_since: fn(Instant) -> WaitState,
    may_stay: impl Fn(&Candidate) -> bool,
) -> bool {
    while let Some(first) = candidates.front() {
        let collected = state_since(first.since);
        // Since the candidates were collected a socket may have been closed, or have sent a request.
        let unchanged = sockets.get(&first.id).is_some_and(|it| it.wait_state().0 == collected);
        if unchanged && may_stay(first) {
            return false;
        }
        let id = first.id;
        candidates.pop_front();
        if unchanged && let Some(progress) = sockets.remove(&id) {
            progress.evict(match collected {
                WaitState::Idle(_) => SocketCloseReason::EvictedIdle,
                _ => SocketCloseReason::EvictedWaiting,
            });
            return true;
        }
    }
    false
}

impl fmt::Debug for PendingPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingPool").field("max", &self.max).field("reserve", &self.reserve).finish_non_exhaustive()
    }
}

/// The place of one socket in the pool. Its drop, at the end of the socket's task, gives the place back.
#[derive(Debug)]
pub(super) struct PendingPermit {
    pub(super) pool: Arc<PendingPool>,
    id: u64,
    pub(super) progress: Arc<Progress>,
    /// `None` only while this is dropped.
    task: Option<Permit>,
}

impl PendingPermit {
    /// Waits until a request that is not a probe may be handled; `None` if it is to be answered 503.
    pub(super) async fn request_permit(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(permit) = self.pool.requests.try_acquire() {
            return Some(permit);
        }
        self.progress.on_queued();
        // A queued request can be rejected in favour of a socket that waits to be accepted.
        self.pool.changed.notify_one();
        let permit = tokio::select! {
            biased;
            () = self.progress.rejected() => None,
            permit = self.pool.requests.acquire() => permit.ok(),
        };
        self.progress.on_request();
        permit
    }

    /// Excludes the socket from the count, since its response is an event stream.
    pub(super) fn start_stream(&self, stream: &Arc<Stream>) {
        self.progress.on_stream(StreamGuard::new(stream, self.pool.streams.permit()));
        self.pool.changed.notify_one();
    }
}

impl Drop for PendingPermit {
    fn drop(&mut self) {
        self.pool.table.lock().sockets.remove(&self.id);
        // Before the notification: a socket that waits finds the task counted otherwise.
        drop(self.task.take());
        self.pool.changed.notify_one();
    }
}
