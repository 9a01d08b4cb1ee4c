//! The sockets that are neither WebSockets nor event streams yet, and who of them has to go when there are too many.
//!
//! A client that has to be waited for costs nothing but its place, so an attacker can have any number of them. Sockets
//! are accepted all the same while all places are taken, since who comes is known only then:
//!
//! ```text
//! max_pending places       more sockets than these: a newcomer takes the place of somebody who is waited for
//! max_pending requests     more requests than these wait, and are answered 503 when all places below are taken, too
//! pending_reserve places   for sockets whose request is a probe, which is answered at once, or waits for its turn
//! ```
//!
//! The place of a newcomer is, in this order, that of who
//!
//! 1. has been answered and has asked nothing more for the longest time;
//! 2. is waited for, and comes from the address that has the most sockets here: for the longest time, if the newcomer's
//!    address has fewer, and only for longer than `pressure_timeout` otherwise;
//! 3. is waited for longer than `pressure_timeout`, wherever it comes from.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::ServerOptions;
use super::progress::{Progress, WaitState};
use super::streaming::Streaming;
use crate::engine::stream::Stream;
use crate::engine::sync::Mutex;
use crate::limits::gauge::Gauge;
use crate::metrics::SocketCloseReason;

/// The least time that a request may wait for its turn, before it is answered 503 to make room for others.
const LEAST_TURN: Duration = Duration::from_millis(100);

/// The time for which a survey of many sockets serves: it costs some microseconds for each hundred of them.
const SURVEY_SERVES: Duration = Duration::from_millis(10);

/// Fewer sockets than these are looked at anew for each newcomer.
const FEW: usize = 256;

/// The places of one port, or of several that share them.
pub(super) struct PendingPool {
    max: usize,
    reserve: usize,
    pressure_timeout: Duration,
    table: Mutex<PendingTable>,
    /// The number of sockets that are event streams, which are not counted.
    streams: Arc<Gauge>,
    /// One for each request that is being answered and is no probe.
    turns: Semaphore,
    /// Told when a newcomer may find room.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct PendingTable {
    sockets: HashMap<u64, Arc<Progress>>,
    next: u64,
    candidates: Option<EvictionCandidates>,
}

/// The sockets that can be asked to go, the first to go first.
struct EvictionCandidates {
    at: Instant,
    idle: VecDeque<Candidate>,
    /// From the address that has the most.
    crowd: VecDeque<Candidate>,
    others: VecDeque<Candidate>,
    queued: VecDeque<Candidate>,
    crowded: Option<IpAddr>,
    counts: HashMap<IpAddr, usize>,
}

#[derive(Clone, Copy)]
struct Candidate {
    id: u64,
    since: Instant,
}

/// An answer to a newcomer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Capacity {
    /// It may come in.
    Free,
    /// It has to wait, until something changes or that time.
    Full(Option<Instant>),
}

impl PendingPool {
    pub(super) fn new(options: &ServerOptions) -> Arc<PendingPool> {
        Arc::new(PendingPool {
            max: options.max_pending,
            reserve: options.pending_reserve,
            pressure_timeout: options.pressure_timeout,
            table: Mutex::default(),
            streams: Arc::default(),
            turns: Semaphore::new(options.max_pending.min(Semaphore::MAX_PERMITS)),
            changed: Notify::new(),
        })
    }

    /// Returns whether there is room for a newcomer from this address, if it has one; somebody may have been asked to
    /// go.
    pub(super) fn room_for(&self, newcomer: Option<IpAddr>) -> Capacity {
        let now = Instant::now();
        let mut table = self.table.lock();
        let taken = table.sockets.len().saturating_sub(self.streams.count());
        if taken < self.max {
            return Capacity::Free;
        }
        let old =
            table.candidates.as_ref().is_none_or(|candidates| taken <= FEW || now >= candidates.at + SURVEY_SERVES);
        if old {
            table.candidates = Some(EvictionCandidates::of(&table.sockets, now));
        }
        let PendingTable { sockets, candidates, .. } = &mut *table;
        let Some(candidates) = candidates else { return Capacity::Free };
        if candidates.make_room(sockets, newcomer, now, self.pressure_timeout) {
            return Capacity::Free;
        }
        if taken < self.max.saturating_add(self.reserve) {
            return Capacity::Free;
        }
        candidates.reject_queued(sockets, now);
        Capacity::Full(Some(candidates.next_chance(now, self.pressure_timeout)))
    }

    /// Takes a place for a socket.
    pub(super) fn take(self: &Arc<PendingPool>, progress: &Arc<Progress>) -> PendingPermit {
        let mut table = self.table.lock();
        let id = table.next;
        table.next += 1;
        table.sockets.insert(id, Arc::clone(progress));
        PendingPermit { pool: Arc::clone(self), id, progress: Arc::clone(progress) }
    }

    /// The number of sockets that are event streams.
    pub(super) fn streams(&self) -> usize {
        self.streams.count()
    }
}

impl EvictionCandidates {
    fn of(sockets: &HashMap<u64, Arc<Progress>>, now: Instant) -> EvictionCandidates {
        let (mut idle, mut waiting, mut queued) = (Vec::new(), Vec::new(), Vec::new());
        let mut counts = HashMap::<IpAddr, usize>::new();
        for (id, progress) in sockets {
            let (state, address) = progress.standing();
            let candidate = |since| Candidate { id: *id, since };
            match state {
                WaitState::Stream => continue,
                WaitState::Nothing => {}
                WaitState::Idle(since) => idle.push(candidate(since)),
                WaitState::Client(since) => waiting.push((candidate(since), address)),
                WaitState::Turn(since) => queued.push(candidate(since)),
            }
            if let Some(address) = address {
                *counts.entry(address).or_default() += 1;
            }
        }
        let crowded = counts.iter().max_by_key(|(address, count)| (**count, **address)).map(|(address, _)| *address);
        let (crowd, others) =
            waiting.into_iter().partition::<Vec<_>, _>(|(_, from)| from.is_some() && *from == crowded);
        let sorted = |candidates: Vec<Candidate>| {
            let mut candidates = candidates;
            candidates.sort_unstable_by_key(|candidate| candidate.since);
            VecDeque::from(candidates)
        };
        let bare = |candidates: Vec<(Candidate, _)>| sorted(candidates.into_iter().map(|(it, _)| it).collect());
        EvictionCandidates {
            at: now,
            idle: sorted(idle),
            crowd: bare(crowd),
            others: bare(others),
            queued: sorted(queued),
            crowded,
            counts,
        }
    }

    /// Asks somebody to go, if there is anybody.
    fn make_room(
        &mut self,
        sockets: &mut HashMap<u64, Arc<Progress>>,
        newcomer: Option<IpAddr>,
        now: Instant,
        pressure_timeout: Duration,
    ) -> bool {
        let count = |address: Option<IpAddr>| address.and_then(|it| self.counts.get(&it)).copied().unwrap_or(0);
        let most = count(self.crowded);
        // As many would mean that two addresses throw each other out.
        let has_fewer = newcomer != self.crowded && count(newcomer) + 1 < most;
        let patient = |candidate: &Candidate| now.saturating_duration_since(candidate.since) < pressure_timeout;
        let gone = evict(&mut self.idle, sockets, WaitState::Idle, |_| false)
            || evict(&mut self.crowd, sockets, WaitState::Client, |candidate| !has_fewer && patient(candidate))
            || evict(&mut self.others, sockets, WaitState::Client, patient);
        if gone && let Some(newcomer) = newcomer {
            *self.counts.entry(newcomer).or_default() += 1;
        }
        gone
    }

    /// Has a request answered 503 that waits for its turn. Its place is free when the answer is out.
    fn reject_queued(&mut self, sockets: &HashMap<u64, Arc<Progress>>, now: Instant) {
        while let Some(first) = self.queued.front().filter(|first| now >= first.since + LEAST_TURN) {
            let progress = sockets.get(&first.id).filter(|it| it.standing().0 == WaitState::Turn(first.since));
            self.queued.pop_front();
            if let Some(progress) = progress {
                progress.reject_queued();
                return;
            }
        }
    }

    fn next_chance(&self, now: Instant, pressure_timeout: Duration) -> Instant {
        let waited = [&self.crowd, &self.others].into_iter().filter_map(|waiting| waiting.front());
        let waited = waited.filter_map(|first| first.since.checked_add(pressure_timeout));
        let turn = self.queued.front().map(|first| first.since + LEAST_TURN);
        // Whoever comes to be waited for meanwhile is seen by the next survey.
        let soon = now + LEAST_TURN;
        waited.chain(turn).filter(|at| *at > now).min().map_or(soon, |at| at.min(soon))
    }
}

/// Asks the first who still stands as it did to go, unless it may stay.
fn evict(
    candidates: &mut VecDeque<Candidate>,
    sockets: &mut HashMap<u64, Arc<Progress>>,
    standing: fn(Instant) -> WaitState,
    may_stay: impl Fn(&Candidate) -> bool,
) -> bool {
    while let Some(first) = candidates.front() {
        let stands = sockets.get(&first.id).is_some_and(|it| it.standing().0 == standing(first.since));
        if stands && may_stay(first) {
            return false;
        }
        let (id, first_since) = (first.id, first.since);
        candidates.pop_front();
        if stands && let Some(progress) = sockets.remove(&id) {
            progress.evict(match standing(first_since) {
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
        f.debug_struct("Pool").field("max", &self.max).field("reserve", &self.reserve).finish_non_exhaustive()
    }
}

/// The place of a socket, until its task has ended.
#[derive(Debug)]
pub(super) struct PendingPermit {
    pub(super) pool: Arc<PendingPool>,
    id: u64,
    pub(super) progress: Arc<Progress>,
}

impl PendingPermit {
    /// Waits until a request may be answered that is no probe; `None` if that would take too long.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(turn) = self.pool.turns.try_acquire() {
            return Some(turn);
        }
        self.progress.queued();
        // Whoever waits to come in may have this place.
        self.pool.changed.notify_one();
        tokio::select! {
            biased;
            () = self.progress.rejected() => {
                self.progress.requested();
                None
            }
            turn = self.pool.turns.acquire() => {
                self.progress.requested();
                turn.ok()
            }
        }
    }
}

impl PendingPermit {
    /// From now on the answer is an event stream, which takes no place.
    pub(super) fn streams(&self, stream: &Arc<Stream>) {
        self.progress.streams(Streaming::new(stream, self.pool.streams.permit()));
        self.pool.changed.notify_one();
    }
}

impl Drop for PendingPermit {
    fn drop(&mut self) {
        self.pool.table.lock().sockets.remove(&self.id);
        self.pool.changed.notify_one();
    }
}
