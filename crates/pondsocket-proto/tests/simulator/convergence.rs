//! The course of a schedule: faults, then quiet, and then one operation after the other on healthy nodes.

use pondsocket_proto::cluster::{Answer, ChannelKey, ClusterRequest};
use pondsocket_proto::id::UserId;

use super::checker::Violation;
use super::node::RunState;
use super::redis::Peer;
use super::sabotage::Sabotage;
use super::server_channel::{UserAction, presence};
use super::trace::Trace;
use super::world::{Participant, World};

const ENOUGH_EVENTS: u64 = 2000;
const SECOND: u64 = 1000;

/// The time within which each node judges the others as they are when all faults were repaired: reconnecting, doubt for two
/// lifetimes, and a lifetime.
pub(crate) const RECOVERY: u64 = 20 * SECOND;

/// The outcome of one schedule.
pub(crate) struct Report {
    pub(crate) events: u64,
    pub(crate) violation: Option<Violation>,
    pub(crate) trace: Trace,
}

pub(crate) fn run(seed: u64, trace: Trace, sabotage: Option<Sabotage>) -> Report {
    let mut world = World::new(seed, trace, sabotage);
    world.play();
    let World { events, checker, trace, .. } = world;
    Report { events, violation: checker.violation().cloned(), trace }
}

impl World {
    fn play(&mut self) {
        self.fault_period();
        self.repair_everything();
        let bound = self.recovery_bound();
        self.settles_within(bound, "I1");
        // Nodes that seemed dead may have been hidden and shown again.
        self.run_until(self.repaired + bound);
        self.settles_within(0, "I1");
        if self.plan.has_foreign() && self.plan.is_well() {
            self.foreign_servers_settle();
        }
        let acts: [fn(&mut World); 9] = [
            World::histories_settle,
            World::only_routine_is_published,
            World::a_change_is_shown_at_once,
            World::a_last_message_is_lost,
            World::queries_are_answered,
            World::users_come_back_in_time_or_not,
            World::a_node_stops,
            World::a_node_is_restarted,
            World::a_node_is_killed,
        ];
        for act in acts {
            if self.checker.is_content() && self.live().count() >= 2 {
                act(self);
            }
        }
    }

    fn fault_period(&mut self) {
        let mut looked = 0;
        while (self.events < ENOUGH_EVENTS || self.now < 20 * SECOND)
            && self.now < 900 * SECOND
            && self.checker.is_content()
        {
            self.run_until(self.now + 500);
            self.requests_are_answered();
            if self.plan.is_well() && self.events > looked + 300 {
                // Users do nothing for a moment, and then all views are equal. (An action that is due anyway is
                // executed.)
                looked = self.events;
                self.is_over = true;
                let bound = self.propagation_bound();
                self.settles_within(bound, "I4");
                self.is_over = false;
                self.after(1, super::world::Event::UserAction);
            }
        }
    }

    /// The time within which nodes have to agree after all faults were repaired.
    fn recovery_bound(&self) -> u64 {
        let plan = &self.plan;
        match (plan.is_well(), plan.silent > 0) {
            (true, _) => self.propagation_bound(),
            // The lost message may have been the digest, too: the next one comes after a minute.
            (_, true) => 75 * SECOND,
            _ => RECOVERY,
        }
    }

    /// The time within which a change is shown on healthy nodes: the way, the coalescing, and commands of other nodes.
    fn propagation_bound(&self) -> u64 {
        let commands = 700;
        // A Go server handles messages with a delay, and publishes with a delay.
        let slow = if self.plan.go { 500 } else { 0 };
        self.plan.hop() * 2 + self.plan.tick_late + 60 + commands + slow
    }

    /// Runs until all views are as expected, for `bound` at most.
    pub(crate) fn settles_within(&mut self, bound: u64, rule: &'static str) {
        let (start, step) = (self.now, 50);
        while self.checker.is_content() {
            if std::mem::replace(&mut self.is_dirty, false) && self.difference().is_none() {
                return self.note(|| "all views are equal".to_owned());
            }
            if self.now >= start + bound {
                if let Some(what) = self.difference() {
                    self.checker.violated(rule, format!("after {bound} ms: {what}"));
                }
                return;
            }
            self.run_until((self.now + step).min(start + bound));
        }
    }

    fn foreign_servers_settle(&mut self) {
        let (start, bound) = (self.now, 65 * SECOND);
        while self.checker.is_content() {
            match self.foreign_difference() {
                None => return,
                Some(what) if self.now >= start + bound => {
                    return self.checker.violated("I7", format!("after {bound} ms: {what}"));
                }
                Some(_) => self.run_until(self.now + 500),
            }
        }
    }

    fn requests_are_answered(&mut self) {
        let now = self.now;
        // An eviction waits for a node that does not answer for a lifetime and two beats (docs/cluster.md, Operations), others for less.
        let is_late = |asked: &u64| now > asked + 7 * SECOND;
        let late = self.started().filter(|(_, node)| node.run_state == RunState::Running).find_map(|(peer, node)| {
            node.asks
                .values()
                .find(|(asked, _)| is_late(asked))
                .map(|(_, ask)| format!("{peer} has not answered {ask:?}"))
        });
        if let Some(late) = late.filter(|_| self.plan.faults.is_none()) {
            self.checker.violated("asks", late);
        }
    }

    fn only_routine_is_published(&mut self) {
        if self.plan.has_foreign() {
            return;
        }
        // Messages in flight, and queries that wait for answers.
        self.run_until(self.now + 75 * SECOND);
        self.checker.be_still(true);
        self.run_until(self.now + 30 * SECOND);
        self.checker.be_still(false);
        self.settles_within(0, "I1");
    }

    fn a_change_is_shown_at_once(&mut self) {
        self.a_user_joins_on_each_node();
        let (peer, channel) = self.somewhere();
        self.joins(peer, &channel, &super::server_channel::user("the last to come"));
        let bound = self.plan.hop() + self.plan.tick_late + 60;
        self.settles_within(bound, "I4");
    }

    /// A user joins on every node, so that each has one to show.
    pub(crate) fn a_user_joins_on_each_node(&mut self) {
        for peer in self.running() {
            let channel = self.channels[0].clone();
            let who = super::server_channel::user(&format!("watcher {peer}"));
            self.joins(peer, &channel, &who);
        }
        let (bound, start) = (3 * SECOND, self.now);
        self.settles_within(bound, "I4");
        // A foreign node may relay a user before the message of the owner arrives.
        self.run_until(start + bound);
    }

    pub(crate) fn somewhere(&mut self) -> (Peer, ChannelKey) {
        let running = self.running();
        let peer = running[self.rng.index(running.len())];
        (peer, self.channels[0].clone())
    }

    /// A message that no other follows is lost without a report.
    fn a_last_message_is_lost(&mut self) {
        self.run_until(self.now + SECOND);
        let (peer, channel) = self.somewhere();
        let others: Vec<_> = self.running().into_iter().filter(|other| *other != peer).collect();
        let Some(&other) = self.rng.pick(&others) else { return };
        self.checker.expect_divergence();
        self.redis.lose_next(other);
        self.note(|| format!("** the next message to {other} is lost"));
        let who = super::server_channel::user(&format!("watcher {peer}"));
        let shown = presence(self.count());
        self.perform(peer, &channel, &who, UserAction::Show(Some(shown)));
        let bound = 6 * SECOND + 2 * self.plan.hop() + 2 * self.plan.tick_late;
        self.settles_within(bound, "silent loss");
    }

    fn queries_are_answered(&mut self) {
        self.run_until(self.now + 3 * SECOND);
        let (asker, channel) = self.somewhere();
        let others: Vec<_> = self.running().into_iter().filter(|other| *other != asker).collect();
        let Some(&other) = self.rng.pick(&others) else { return };
        let who = super::server_channel::user(&format!("watcher {other}"));
        let is_here = |world: &World| world.members(other, &channel).contains(&who);
        if !is_here(self) {
            return;
        }
        let (user, nobody) = (who.clone(), super::server_channel::user("nobody"));
        let sure = !self.plan.has_foreign();
        let found = self.asks(asker, ClusterRequest::Get { channel: channel.clone(), user: user.clone() });
        if !matches!(found, Some(Answer::Found(_))) {
            self.checker.violated("asks", format!("{asker} queried {user}, a user on {other}: {found:?}"));
        }
        let nobody = self.asks(asker, ClusterRequest::Get { channel: channel.clone(), user: nobody });
        if sure && nobody != Some(Answer::NotFound) {
            self.checker.violated("asks", format!("{asker} queried an absent user: {nobody:?}"));
        }
        self.nodes_without_users_query();
        let (value, key) = (super::server_channel::json(&7), "told".to_owned());
        let assigned =
            self.asks(asker, ClusterRequest::Assign { channel: channel.clone(), user: user.clone(), key, value });
        let reason = "the end".to_owned();
        let evicted = self.asks(asker, ClusterRequest::Evict { channel: channel.clone(), user: user.clone(), reason });
        let refused = self.plan.refusals > 0 && assigned == Some(Answer::Refused);
        if sure && !refused && assigned != Some(Answer::Confirmed) {
            self.checker.violated("asks", format!("{asker} changed {user} on {other}: {assigned:?}"));
        }
        if (sure && evicted != Some(Answer::Confirmed)) || is_here(self) {
            self.checker.violated("asks", format!("{asker} evicted {user} from {other}: {evicted:?}"));
        }
        let bound = self.propagation_bound();
        self.settles_within(bound, "I4");
    }

    /// A node queries the users of a channel in which it has none itself.
    fn nodes_without_users_query(&mut self) {
        let pairs =
            self.running().into_iter().flat_map(|peer| self.channels.iter().map(move |channel| (peer, channel)));
        let is_outside = |(peer, channel): &(Peer, &ChannelKey)| self.members(*peer, channel).is_empty();
        let Some((peer, channel)) = pairs.filter(is_outside).map(|(peer, channel)| (peer, channel.clone())).next_back()
        else {
            return;
        };
        let answer = self.asks(peer, ClusterRequest::Users { channel: channel.clone() });
        // Queries wait for half a second; some answers arrive later where all connections are slow.
        let is_slow = self.plan.has_foreign() || 2 * self.plan.hop() + self.plan.tick_late > 400;
        let told = match &answer {
            Some(Answer::Users { complete: false, .. }) if is_slow => return,
            Some(Answer::Users { users, complete }) if *complete || is_slow => users.clone(),
            _ => return self.checker.violated("asks", format!("{peer} asked who is in {channel:?}: {answer:?}")),
        };
        if let Some(what) = self.difference_of(peer, &channel, &told.into_iter().collect()) {
            self.checker.violated("asks", format!("{peer} asked who is in {channel:?}, and {what}"));
        }
    }

    fn asks(&mut self, peer: Peer, ask: ClusterRequest) -> Option<Answer> {
        let id = self.ask(peer, ask)?;
        self.run_until(self.now + 3500);
        self.checker.answers.remove(&(peer, id))
    }

    fn a_node_stops(&mut self) {
        self.a_user_joins_on_each_node();
        let (peer, _) = self.somewhere();
        self.note(|| format!("** {peer} goes"));
        self.checker.expect_deaths();
        self.stop(peer);
        self.settles_within(SECOND, "I4 stop");
    }

    /// A node is killed, and restarted at once with one of its users.
    fn a_node_is_restarted(&mut self) {
        let (peer, channel) = self.somewhere();
        let Participant::Ours(node) = &self.participants[peer] else { return };
        let name = node.id.name.clone();
        self.kill(peer);
        let again = self.rng.range((1, 2000));
        self.run_until(self.now + again);
        let young = self.start_node(&name);
        let who: UserId = super::server_channel::user(&format!("watcher {peer}"));
        self.joins(young, &channel, &who);
        self.settles_within(5500, "I4 restart");
        self.run_until(self.now + 10 * SECOND);
        self.settles_within(0, "I3");
    }

    fn a_node_is_killed(&mut self) {
        self.a_user_joins_on_each_node();
        self.run_until(self.now + 5 * SECOND);
        let (peer, _) = self.somewhere();
        self.kill(peer);
        let bound = 5500 + (4 * self.plan.delay.1).saturating_sub(200) + self.plan.tick_late;
        self.settles_within(bound, "I4 crash");
        self.run_until(self.now + 10 * SECOND);
        self.settles_within(0, "I1");
    }
}
