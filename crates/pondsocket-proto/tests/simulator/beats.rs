//! How nodes keep their leases: a beat each second, one at a time, answered within two seconds or not at all.

use pondsocket_proto::cluster::{Input, Lease};

use super::node::{Life, Trouble};
use super::redis::Peer;
use super::world::{Event, World};

const TIMEOUT: u64 = 2000;

impl World {
    pub(crate) fn beat(&mut self, peer: Peer) {
        let Some(node) = self.node(peer) else { return };
        if node.life == Life::Over {
            return;
        }
        let again = self.rng.range((900, 1100));
        self.after(again, Event::Beat(peer));
        self.beat_now(peer);
    }

    pub(crate) fn beat_now(&mut self, peer: Peer) {
        let Some(node) = self.node(peer).filter(|node| node.life != Life::Over) else { return };
        let (life, trouble) = (node.life, node.trouble);
        let can_say = self.redis.is_up(peer) && trouble != Some(Trouble::Mute);
        let node = self.node(peer).expect("it is ours");
        if life == Life::Paused || !can_say || node.beats {
            return;
        }
        node.beats = true;
        let (session, delay) = (self.redis.session(peer), self.rng.range(self.plan.delay));
        let at = (self.now + delay).max(self.redis.stalled_until());
        self.at(at, Event::Beaten(peer, session));
    }

    /// The beat is at the table, which knows it even if the answer is lost.
    pub(crate) fn beaten(&mut self, peer: Peer, session: u64) {
        let now = self.now;
        let slow = if now < self.slow_store_until { self.rng.range((500, 4000)) } else { 0 };
        let answer_in = slow + self.rng.range(self.plan.delay);
        let server = now + self.server_ahead;
        let Some(node) = self.node(peer).filter(|node| node.life != Life::Over) else { return };
        let id = node.id.clone();
        let first = !std::mem::replace(&mut node.has_beaten, true);
        let is_deaf = node.trouble == Some(Trouble::Deaf);
        if !self.redis.can_say(peer) {
            self.node(peer).expect("it is ours").beats = false;
            return;
        }
        let lease = self.leases.beat(&id, first, server);
        if !lease.expired.is_empty() || lease.was_expired {
            self.note(|| format!("{peer} beats, and the table says {lease:?}"));
        }
        if answer_in > TIMEOUT || is_deaf {
            // Whoever has expired was told to nobody then.
            self.at(now + TIMEOUT, Event::BeatAnswered(peer, u64::MAX, Lease::default()));
        } else {
            self.at(now + answer_in, Event::BeatAnswered(peer, session, lease));
        }
    }

    pub(crate) fn beat_answered(&mut self, peer: Peer, session: u64, lease: Lease) {
        let is_heard = self.redis.session(peer) == session && self.redis.can_say(peer);
        let Some(node) = self.node(peer) else { return };
        node.beats = false;
        if is_heard && node.trouble != Some(Trouble::Deaf) {
            self.events += 1;
            self.feed(peer, Input::Lease(lease));
        }
    }
}
