//! The faults, and their repair.

use pondsocket_proto::cluster::{Bus, Input};

use super::node::{LinkFault, RunState};
use super::redis::Peer;
use super::schedule::Fault;
use super::world::{Event, World};

/// The end of a fault.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Repair {
    Resume(Peer),
    /// Another incarnation of this paused node starts.
    Replace(Peer),
    /// The node ends, in any state.
    Kill(Peer),
    Free(Peer),
    RedisBack {
        loses_leases: bool,
    },
    /// A copy of the table, for the replica.
    Copy,
}

const MAX_NODES: usize = 8;

impl World {
    pub(crate) fn a_fault_occurs(&mut self) {
        if self.is_over {
            return;
        }
        let (every, kinds) = (self.plan.faults.unwrap_or(1000), self.plan.kinds.clone());
        let next = self.rng.range((every / 4, every * 2));
        self.after(next, Event::Fault);
        self.after(self.rng.clone().below(4000), Event::Repair(Repair::Copy));
        let fault = match self.running().len() {
            0 | 1 => Fault::Newcomer,
            2 if self.rng.coin() => Fault::Newcomer,
            _ => self.rng.weighted(&kinds),
        };
        let running = self.running();
        let peer = self.rng.pick(&running).copied();
        self.break_now(fault);
        match (fault, peer) {
            (Fault::Newcomer, _) => self.start_another_node(),
            (Fault::Stall, _) => {
                let until = self.now + self.rng.range((100, 3000));
                self.redis.stall(until);
            }
            (Fault::SlowStore, _) => {
                self.slow_store_until = self.now + self.rng.range((500, 8000));
                self.redis.slow_down(self.slow_store_until);
            }
            (Fault::Flush, _) => {
                self.leases.clear();
                self.redis.histories.flush();
            }
            (Fault::RedisRestart, _) => {
                let loses_leases = self.rng.coin();
                self.redis.histories.restart(loses_leases);
                self.lose_redis(Repair::RedisBack { loses_leases });
            }
            (Fault::Failover, _) => {
                self.leases = self.lagging.clone();
                self.redis.histories.promote(self.lagging_histories.copy());
                self.server_ahead = self.server_ahead + 500 - self.rng.below(1000).min(self.server_ahead + 500);
                self.lose_redis(Repair::RedisBack { loses_leases: false });
            }
            (fault, Some(peer)) => self.break_node(fault, peer),
            (_, None) => {}
        }
    }

    fn break_node(&mut self, fault: Fault, peer: Peer) {
        self.note(|| format!("** to {peer}"));
        match fault {
            Fault::Pause => {
                self.pause(peer);
                let back = self.rng.range((200, 10_000));
                self.after(back, Event::Repair(Repair::Resume(peer)));
            }
            Fault::Zombie => {
                self.pause(peer);
                let (young, awake, dead) = (self.rng.below(3000), self.rng.below(6000), self.rng.below(3000));
                self.after(young, Event::Repair(Repair::Replace(peer)));
                self.after(young + 1 + awake, Event::Repair(Repair::Resume(peer)));
                self.after(young + 2 + awake + dead, Event::Repair(Repair::Kill(peer)));
            }
            Fault::Crash => self.kill(peer),
            Fault::Restart => {
                self.kill(peer);
                let back = self.rng.range((1, 8000));
                self.after(back, Event::Repair(Repair::Replace(peer)));
            }
            Fault::Stop => self.stop(peer),
            Fault::Flap => {
                let back = self.rng.range((1, 3000));
                self.hang_up(peer, back);
            }
            Fault::Mute => self.break_link(peer, LinkFault::Mute, (2000, 2600)),
            Fault::Deaf => self.break_link(peer, LinkFault::Deaf, (2000, 3000)),
            Fault::Wedge => self.break_link(peer, LinkFault::Wedge, (4000, 10_000)),
            Fault::Gap => self.feed(peer, Input::Bus(Bus::GapAll)),
            Fault::Leap => {
                // By a little, as when a clock is synchronised, or by as much as the clocks of the schedule differ.
                let most = if self.rng.coin() { 6000 } else { self.plan.skew.max(6000) };
                let leap = self.rng.range((1, most)) as i64;
                let leap = if self.rng.coin() { leap } else { -leap };
                self.feed(peer, Input::Tick);
                let node = self.node(peer).expect("it is ours");
                node.ahead += leap;
                node.set_back += (-leap).max(0);
                self.feed(peer, Input::Tick);
            }
            _ => unreachable!("not a fault of one node"),
        }
    }

    fn start_another_node(&mut self) {
        if self.started().count() < MAX_NODES {
            let number = self.count();
            self.start_node(&format!("web-new{number}"));
        }
    }

    pub(crate) fn pause(&mut self, peer: Peer) {
        if let Some(node) = self.node(peer).filter(|node| node.run_state == RunState::Running) {
            node.run_state = RunState::Paused;
        }
    }

    /// Resumes a node: all that waited is handled at once.
    pub(crate) fn resume(&mut self, peer: Peer) {
        let looks_first = self.rng.coin();
        let Some(node) = self.node(peer).filter(|node| node.run_state == RunState::Paused) else { return };
        node.run_state = RunState::Running;
        let waiting = std::mem::take(&mut node.waiting);
        let look = looks_first.then_some(Input::Tick);
        look.into_iter().chain(waiting).for_each(|input| self.feed(peer, input));
        self.note(|| format!("** {peer} is awake"));
    }

    /// Kills a node. Its lease expires.
    pub(crate) fn kill(&mut self, peer: Peer) {
        let now = self.now;
        let Some(node) = self.node(peer).filter(|node| node.run_state != RunState::Ended) else { return };
        (node.run_state, node.ended) = (RunState::Ended, now);
        self.redis.disconnect(peer);
        self.is_dirty = true;
        self.note(|| format!("** {peer} is dead"));
        self.history_node_ends(peer, false);
    }

    /// Stops a node gracefully: either its users leave one by one before, or they are still there.
    pub(crate) fn stop(&mut self, peer: Peer) {
        if self.rng.coin() {
            self.all_users_leave(peer);
        }
        self.feed(peer, Input::Stop);
        let now = self.now;
        let Some(node) = self.node(peer) else { return };
        let id = node.id.clone();
        (node.run_state, node.ended) = (RunState::Ended, now);
        if self.redis.can_send(peer) {
            self.leases.release(&id);
        }
        self.redis.disconnect(peer);
        self.is_dirty = true;
        self.history_node_ends(peer, true);
    }

    fn break_link(&mut self, peer: Peer, link_fault: LinkFault, found_in: (u64, u64)) {
        if !self.redis.is_up(peer) || self.node(peer).is_none_or(|node| node.link_fault.is_some()) {
            return;
        }
        self.node(peer).expect("it is ours").link_fault = Some(link_fault);
        self.redis.block(peer, link_fault == LinkFault::Mute, link_fault != LinkFault::Mute);
        let (found, lasts, session) =
            (self.rng.range(found_in), self.rng.range((100, 12_000)), self.redis.session(peer));
        self.after(found, Event::Detect(peer, session));
        self.after(lasts, Event::Repair(Repair::Free(peer)));
    }

    fn free(&mut self, peer: Peer) {
        if self.node(peer).and_then(|node| node.link_fault.take()).is_some() {
            self.note(|| format!("** {peer} is free"));
        }
        self.redis.unblock(peer, self.now);
        self.collect();
    }

    fn lose_redis(&mut self, back: Repair) {
        self.redis.set_down(true);
        let lasts = self.rng.range((200, 10_000));
        let lasts = self.histories.as_mut().map_or(lasts, |histories| histories.shorten(lasts));
        self.after(lasts, Event::Repair(back));
        for peer in 0..self.participants.len() {
            // Some nodes detect it at once, others with their next message.
            let (known, session) = (self.rng.below(2500), self.redis.session(peer));
            if self.node(peer).is_some_and(|node| node.run_state != RunState::Ended) {
                let node = self.node(peer).expect("it is ours");
                node.link_fault = node.link_fault.or(Some(LinkFault::Deaf));
                self.after(known, Event::Detect(peer, session));
            }
        }
    }

    pub(crate) fn repair(&mut self, repair: Repair) {
        if self.is_over {
            // These have no later effect.
            return;
        }
        match repair {
            Repair::Resume(peer) => self.resume(peer),
            Repair::Kill(peer) => self.kill(peer),
            Repair::Replace(peer) => {
                let Some(node) = self.node(peer).filter(|node| !node.is_replaced) else { return };
                let name = node.id.name.clone();
                self.start_node(&name);
            }
            Repair::Free(peer) => self.free(peer),
            Repair::RedisBack { loses_leases } => self.redis_back(loses_leases),
            Repair::Copy => {
                self.lagging = self.leases.clone();
                self.lagging_histories = self.redis.histories.copy();
            }
        }
    }

    /// Starts Redis again. All earlier connections are lost.
    fn redis_back(&mut self, loses_leases: bool) {
        self.note(|| "** Redis is back".to_owned());
        self.redis.set_down(false);
        if loses_leases {
            self.leases.clear();
        }
        for peer in 0..self.participants.len() {
            match self.node(peer).map(|node| (node.run_state, node.link_fault)) {
                Some((RunState::Ended, _)) => {}
                Some((_, link_fault)) => {
                    self.node(peer).expect("it is ours").link_fault =
                        link_fault.filter(|link_fault| *link_fault != LinkFault::Deaf);
                    self.hang_up(peer, 50);
                }
                None => {
                    self.redis.disconnect(peer);
                    self.redis.connect(peer, self.now, &mut self.rng);
                }
            }
        }
        self.collect();
    }

    /// Repairs all faults. None occurs from now on.
    pub(crate) fn repair_everything(&mut self) {
        (self.is_over, self.repaired) = (true, self.now);
        self.note(|| "** everything is repaired".to_owned());
        self.redis.heal();
        self.redis_is_well();
        self.slow_store_until = 0;
        for peer in 0..self.participants.len() {
            match self.node(peer).map(|node| (node.run_state, node.is_replaced)) {
                Some((RunState::Running | RunState::Paused, true)) => self.kill(peer),
                Some((RunState::Paused, false)) => self.resume(peer),
                _ => {}
            }
            if self.node(peer).is_some_and(|node| node.run_state != RunState::Ended) {
                self.free(peer);
            }
        }
        while self.live().count() < 2 {
            self.start_another_node();
        }
    }

    fn redis_is_well(&mut self) {
        if self.redis.is_reachable_at_all() {
            return;
        }
        self.redis_back(false);
    }
}
