//! The renewal of leases: one each second, one at a time, answered within two seconds or not at all.

use pondsocket_proto::cluster::{Input, Lease};

use super::node::{LinkFault, RunState};
use super::redis::Peer;
use super::world::{Event, World};

const TIMEOUT: u64 = 2000;

impl World {
    pub(crate) fn renew(&mut self, peer: Peer) {
        let Some(node) = self.node(peer) else { return };
        if node.run_state == RunState::Ended {
            return;
        }
        let again = self.rng.range((900, 1100));
        self.after(again, Event::Renew(peer));
        self.renew_now(peer);
    }

    pub(crate) fn renew_now(&mut self, peer: Peer) {
        let Some(node) = self.node(peer).filter(|node| node.run_state != RunState::Ended) else { return };
        let (run_state, link_fault) = (node.run_state, node.link_fault);
        let can_send = self.redis.is_up(peer) && link_fault != Some(LinkFault::Mute);
        let node = self.node(peer).expect("it is ours");
        if run_state == RunState::Paused || !can_send || node.is_renewing {
            return;
        }
        node.is_renewing = true;
        let (session, delay) = (self.redis.session(peer), self.rng.range(self.plan.delay));
        let at = (self.now + delay).max(self.redis.stalled_until());
        self.at(at, Event::RenewalArrived(peer, session));
    }

    /// Applies a renewal that has arrived at the table. It takes effect even if the answer is lost.
    pub(crate) fn renewal_arrived(&mut self, peer: Peer, session: u64) {
        let now = self.now;
        let slow = if now < self.slow_store_until { self.rng.range((500, 4000)) } else { 0 };
        let answer_in = slow + self.rng.range(self.plan.delay);
        let server = now + self.server_ahead;
        let Some(node) = self.node(peer).filter(|node| node.run_state != RunState::Ended) else { return };
        let id = node.id.clone();
        let first = !std::mem::replace(&mut node.has_renewed, true);
        let is_deaf = node.link_fault == Some(LinkFault::Deaf);
        if !self.redis.can_send(peer) {
            self.node(peer).expect("it is ours").is_renewing = false;
            return;
        }
        let lease = self.leases.renew(&id, first, server);
        if !lease.expired.is_empty() || lease.was_expired {
            self.note(|| format!("{peer} renews its lease, and the table answers {lease:?}"));
        }
        if answer_in > TIMEOUT || is_deaf {
            // The expired leases are then reported to no node.
            self.at(now + TIMEOUT, Event::RenewalAnswered(peer, u64::MAX, Lease::default()));
        } else {
            self.at(now + answer_in, Event::RenewalAnswered(peer, session, lease));
        }
    }

    pub(crate) fn renewal_answered(&mut self, peer: Peer, session: u64, lease: Lease) {
        let is_heard = self.redis.session(peer) == session && self.redis.can_send(peer);
        let Some(node) = self.node(peer) else { return };
        node.is_renewing = false;
        if is_heard && node.link_fault != Some(LinkFault::Deaf) {
            self.events += 1;
            self.feed(peer, Input::Lease(lease));
        }
    }
}
