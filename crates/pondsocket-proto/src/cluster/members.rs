//! What this node does to live among others, and upon their coming and going (docs/cluster.md, Who lives).

use std::sync::Arc;

use super::channel::Channel;
use super::core::{Core, Phase};
use super::liveness::Turn;
use super::message::NodeEvent;
use super::record::Record;
use super::timers::Timer;
use super::{Lease, Output};
use crate::id::UserId;

impl Core {
    pub(super) fn link(&mut self) {
        if self.phase == Phase::CutOff {
            self.nodes.doubt(self.now());
            self.legacy.excuse(self.now());
        }
        self.phase = Phase::Linked;
        self.voice.is_up = true;
        self.unsubscribe_all();
        self.nodes.linked(self.voice.now);
        self.heartbeat();
    }

    pub(super) fn cut_off(&mut self) {
        if self.phase == Phase::Linked {
            self.phase = Phase::CutOff;
        }
        self.voice.is_up = false;
        self.unsubscribe_all();
    }

    /// Whether the others can be heard, so that their silence says something.
    fn is_linked(&self) -> bool {
        self.phase == Phase::Linked
    }

    pub(super) fn lease(&mut self, lease: &Lease) {
        if !self.is_linked() {
            return;
        }
        lease.alive.iter().for_each(|node| self.notice_twin(node));
        let turns = self.nodes.lease(lease, self.now());
        for turn in &turns {
            if let Turn::Down(id) = turn
                && lease.expired.contains(id)
            {
                self.voice.announce(NodeEvent::Down(id.clone()));
            }
        }
        self.turn(turns);
        if lease.was_expired {
            self.come_back();
        }
    }

    /// Others may have taken this node for dead.
    pub(super) fn come_back(&mut self) {
        self.voice.announce(NodeEvent::Hello);
        self.want_all_states();
    }

    pub(super) fn beat(&mut self, due: u64) {
        let now = self.now();
        if now > due + self.settings.lifetime / 2 {
            // It was asleep: what others said meanwhile is yet to be heard, and they may have taken it for dead.
            self.nodes.doubt(now);
            self.legacy.excuse(now);
            self.come_back();
        }
        if self.nodes.beats() {
            self.voice.announce(NodeEvent::Hello);
        }
        if self.is_linked() {
            let turns = self.nodes.judge(now);
            self.turn(turns);
        }
        let turns = self.nodes.age(now);
        self.turn(turns);
        self.memory.age(now);
        let next = now + self.voice.random.about(self.settings.beat);
        self.timers.set(Timer::Beat, next);
    }

    pub(super) fn heartbeat(&mut self) {
        if self.settings.interop {
            self.voice.heartbeat();
            self.timers.set(Timer::Heartbeat, self.now() + self.settings.heartbeat);
        }
    }

    /// Acts upon what is thought of nodes otherwise than before.
    pub(super) fn turn(&mut self, turns: Vec<Turn>) {
        for turn in turns {
            match turn {
                Turn::Up(id) => {
                    self.voice.output(Output::NodeUp(id.name.clone()));
                    self.catch_up(&id);
                    self.look_again_for(&id.name);
                    self.mend(&id.name);
                }
                Turn::Down(id) => {
                    self.voice.output(Output::NodeDown(id.name.clone()));
                    self.look_again_for(&id.name);
                }
                Turn::Reborn(id) => self.with_records(&id.name, |record| record.begin(id.incarnation)),
                Turn::Contested(id) => self.contest(id),
                // Should it come back it is asked for them.
                Turn::Forgotten(name) => self.with_records(&name, Record::forget),
                Turn::Dropped(name) => {
                    self.contested.forget(&name);
                    for channel in self.channels.values_mut() {
                        channel.records.remove(&name);
                    }
                }
            }
        }
    }

    /// Changes all that a node has said, and looks again at those users that it changes.
    fn with_records(&mut self, name: &Arc<str>, change: impl Fn(&mut Record) -> Vec<UserId>) {
        let (mut changed, now) = (Vec::new(), self.now());
        for (key, channel) in &mut self.channels {
            if channel.records.contains_key(name) {
                changed.push((key.clone(), channel.alter(name, now, &change)));
            }
        }
        for (key, users) in changed {
            self.changed(&key, users);
        }
    }

    /// A node lives, or does not: its users have to be looked at again.
    fn look_again_for(&mut self, name: &Arc<str>) {
        let users = |channel: &Channel| -> Option<Vec<UserId>> {
            Some(channel.records.get(name)?.iter().map(|(user, _)| user.clone()).collect())
        };
        let touched: Vec<_> =
            self.channels.iter().filter_map(|(key, channel)| Some((key.clone(), users(channel)?))).collect();
        for (key, users) in touched {
            self.changed(&key, users);
        }
    }
}
