//! The live channels by their names. The join that becomes the first membership creates a channel, or before it a broadcast that
//! is kept, or the file of an earlier server. It closes when its last member has left, its queue is delivered and its history is
//! not needed any more. A declined join creates none, unless nodes share the history: that is read before the handler runs.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock, Weak};

use pondsocket_proto::channel::{Channel, ChannelLimits, Ring, SavedGhost};
use pondsocket_proto::id::ChannelName;

use crate::engine::history::{ChannelHistory, Histories, HistoryHub};
use crate::engine::live::{ChangedChannels, GhostEnds, GraceEnd, LiveChannel, Pacing, Replication, Rules};
use crate::engine::runtime::KnownRuntime;
use crate::engine::sync::Mutex;
use crate::limits::memory::Memory;

/// Models need the same steps in every run, with any hash of a name.
const SHARDS: usize = if cfg!(pond_loom) { 1 } else { 16 };

type ChannelShard<L> = Mutex<HashMap<ChannelName, Arc<LiveChannel<L>>>>;

/// The live channels of one endpoint. A shard is locked ahead of a channel (docs/ARCHITECTURE.md, Locks).
pub(crate) struct Hub<L: Rules> {
    shards: [ChannelShard<L>; SHARDS],
    hasher: RandomState,
    limits: ChannelLimits,
    pacing: Pacing,
    memory: Arc<Memory>,
    histories: Arc<Histories>,
    replication: Option<Arc<dyn Replication>>,
    runtime: Arc<KnownRuntime>,
    /// Runs the leave handlers of ghosts. Set once the endpoint exists, which holds this hub.
    ghost_ends: OnceLock<Box<dyn GhostEnds<L>>>,
    me: Weak<Hub<L>>,
}

impl<L: Rules> Hub<L> {
    pub(crate) fn new(
        limits: ChannelLimits,
        pacing: Pacing,
        memory: Arc<Memory>,
        histories: Arc<Histories>,
        replication: Option<Arc<dyn Replication>>,
    ) -> Arc<Hub<L>> {
        let hub = Arc::new_cyclic(|me| Hub {
            shards: std::array::from_fn(|_| Mutex::new(HashMap::new())),
            hasher: RandomState::new(),
            limits,
            pacing,
            runtime: Arc::clone(&memory.runtime),
            memory,
            histories,
            replication,
            ghost_ends: OnceLock::new(),
            me: me.clone(),
        });
        let weak: Weak<Hub<L>> = Arc::downgrade(&hub);
        hub.histories.add(weak);
        hub
    }

    /// Sets what runs the leave handlers of ghosts.
    pub(crate) fn set_ghost_ends(&self, ends: impl GhostEnds<L> + 'static) {
        // It is set once, by the endpoint that has created the hub.
        let _ = self.ghost_ends.set(Box::new(ends));
    }

    /// Ends the grace of ghosts.
    pub(crate) fn end_ghosts(&self, which: GraceEnd) {
        // The task comes once a second, also where only histories need it.
        if !self.histories.has_ghosts() {
            return;
        }
        self.channels().iter().for_each(|channel| self.end_ghosts_of(channel, which));
    }

    /// Ends the grace of the ghosts of one channel.
    pub(crate) fn end_ghosts_of(&self, channel: &Arc<LiveChannel<L>>, which: GraceEnd) {
        for departure in channel.end_ghosts(which) {
            if let Some(ends) = self.ghost_ends.get() {
                ends.expired(&channel.name, &channel.lobby, departure);
            }
        }
    }

    /// Removes the ghosts that go on in the next server, and ends the grace of those that were not saved for it.
    pub(crate) fn hand_over_ghosts(&self) {
        self.end_ghosts(GraceEnd::Unsaved);
        for channel in self.channels() {
            for ghost in channel.end_ghosts(GraceEnd::Shutdown) {
                self.ghost_ends.get().into_iter().for_each(|ends| ends.saved(&channel.name, &ghost));
            }
        }
    }

    /// The live channel of this name.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<LiveChannel<L>>> {
        self.shard(name).lock().get(name).cloned()
    }

    /// Seats a connection with `join`, in the live channel of this name or in a new one of this lobby. A channel that closed in
    /// the meantime is passed over, so that no join is lost and no name has two live channels.
    pub(crate) fn join<T, F>(
        &self,
        changed: &mut ChangedChannels<L>,
        name: &ChannelName,
        lobby: &Arc<L>,
        mut join: F,
    ) -> (Arc<LiveChannel<L>>, T)
    where
        F: FnOnce(&mut Channel<L::Recipient>, &L) -> T,
    {
        self.runtime.remember();
        loop {
            let channel = self.get_or_create(name, lobby);
            match channel.join(&mut *changed, join) {
                Ok(answer) => {
                    channel.open();
                    return (channel, answer);
                }
                Err(again) => {
                    // It has closed, and the task that closed it may not have removed it yet.
                    join = again;
                    self.remove(&channel);
                }
            }
        }
    }

    /// Removes a closed channel, unless another one has its name now.
    pub(crate) fn remove(&self, channel: &Arc<LiveChannel<L>>) {
        let mut shard = self.shard(channel.name.as_str()).lock();
        let gone = match shard.get(channel.name.as_str()) {
            Some(live) if Arc::ptr_eq(live, channel) => shard.remove(channel.name.as_str()),
            _ => None,
        };
        // The channel is dropped without the lock: the last reference frees all that it holds, and joins wait for the shard.
        drop(shard);
        drop(gone);
    }

    /// Runs a task on the runtime of the caller, or else on that of the connections. Without either there is no connection
    /// to deliver to.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// All live channels, in no particular order. Each shard is locked for a moment only.
    pub(crate) fn channels(&self) -> Vec<Arc<LiveChannel<L>>> {
        self.shards.iter().flat_map(|shard| shard.lock().values().cloned().collect::<Vec<_>>()).collect()
    }

    /// The live channel of this name, or a new one of this lobby. The caller gives it a member or a message to keep: nothing
    /// else closes it.
    pub(crate) fn get_or_create(&self, name: &ChannelName, lobby: &Arc<L>) -> Arc<LiveChannel<L>> {
        // Held until the new channel is in the shard: two first joins of a name get the same channel.
        let mut shard = self.shard(name.as_str()).lock();
        if let Some(channel) = shard.get(name.as_str()) {
            return Arc::clone(channel);
        }
        let channel = self.create(name, lobby);
        shard.insert(name.clone(), Arc::clone(&channel));
        channel
    }

    /// Opens a channel without connections that an earlier server had, with its history and its ghosts, which were saved `ago`
    /// milliseconds ago. Returns `false` if there is a channel of this name already, or there is neither.
    pub(crate) fn restore(
        &self,
        name: &ChannelName,
        lobby: &Arc<L>,
        make: impl FnOnce(u64) -> Option<Ring>,
        (ghosts, ago): (Vec<SavedGhost>, u64),
    ) -> bool {
        let ring = make(self.histories.now());
        if ring.is_none() && ghosts.is_empty() {
            return false;
        }
        // Held until the new channel is in the shard, with its history and members.
        let mut shard = self.shard(name.as_str()).lock();
        if shard.contains_key(name.as_str()) {
            return false;
        }
        let (channel, has_members) = (self.create(name, lobby), !ghosts.is_empty());
        channel.restore(ring, ghosts, ago);
        shard.insert(name.clone(), Arc::clone(&channel));
        drop(shard);
        if has_members {
            // It notifies the application.
            channel.open();
        }
        true
    }

    fn create(&self, name: &ChannelName, lobby: &Arc<L>) -> Arc<LiveChannel<L>> {
        LiveChannel::new(
            name.clone(),
            Arc::clone(lobby),
            (self.limits, self.pacing.clone(), &self.memory, &self.histories),
            self.replication.clone(),
            self.me.clone(),
        )
    }

    fn shard(&self, name: &str) -> &ChannelShard<L> {
        &self.shards[self.hasher.hash_one(name) as usize % self.shards.len()]
    }
}

impl<L: Rules> HistoryHub for Hub<L> {
    fn expire(&self) {
        self.end_ghosts(GraceEnd::Due);
        self.channels().iter().for_each(|channel| channel.expire());
    }

    fn histories(&self) -> Vec<Arc<dyn ChannelHistory>> {
        let keeps =
            |channel: &Arc<LiveChannel<L>>| channel.read(|channel| channel.history().is_some_and(Ring::is_needed));
        self.channels().into_iter().filter(keeps).map(|channel| channel as Arc<dyn ChannelHistory>).collect()
    }
}

impl<L: Rules> std::fmt::Debug for Hub<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}
