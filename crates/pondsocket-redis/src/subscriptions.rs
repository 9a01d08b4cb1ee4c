//! The wanted topics, the topics that Redis has confirmed, and the commands that make the two equal. Plain data: no
//! connection, no clock.
//!
//! ```text
//!              wanted                    confirmed
//!   Absent --------------> Subscribing -----------> Active
//!     ^                        |                      |
//!     |                        | refused              | not wanted
//!     |      confirmed         v                      v
//!     +---------------- Unsubscribing <---------------+          Denied: until it is wanted anew, or the next session
//! ```
//!
//! A topic with a command under way does not change until the answer, and is then compared again. So no later change
//! can race with the answer.

use std::collections::{HashMap, VecDeque};

use pondsocket::cluster::Topic;

/// The wanted and the confirmed topics, as one table. It belongs to one session at a time.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    topics: HashMap<Topic, Entry>,
    /// Topics whose confirmed state may differ from the wanted one, each once. Empty without a session.
    unequal: VecDeque<Topic>,
    /// The halves of commands that were refused as a whole.
    halves: VecDeque<Change>,
    /// Active topics that were added again: every call that adds a topic is answered by `Subscribed` (`Bus`).
    again: Vec<Topic>,
    connected: bool,
    /// The number of topics added so far, for the order of subscriptions.
    added: u64,
    wanted: usize,
    active: usize,
}

#[derive(Debug)]
struct Entry {
    /// The order in which the topic was added, if it is wanted: topics are subscribed in this order.
    wanted: Option<u64>,
    state: TopicState,
    /// `true` while it waits in `unequal`.
    waits: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum TopicState {
    Absent,
    Subscribing,
    Active,
    Unsubscribing,
    Denied,
}

/// A command to be sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Change {
    pub(crate) kind: Kind,
    pub(crate) topics: Vec<Topic>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Subscribe,
    Unsubscribe,
}

impl Subscriptions {
    /// Changes the wanted topics. Returns `true` if there are commands to send.
    pub(crate) fn update_subscriptions(&mut self, add: &[Topic], remove: &[Topic]) -> bool {
        add.iter().for_each(|topic| self.add(topic));
        remove.iter().for_each(|topic| self.remove(topic));
        self.has_work()
    }

    fn add(&mut self, topic: &Topic) {
        // The first topic of this name is kept and later shared by all messages on it.
        let fresh = || Entry { wanted: None, state: TopicState::Absent, waits: false };
        let entry = self.topics.entry(topic.clone()).or_insert_with(fresh);
        if entry.wanted.is_none() {
            self.added += 1;
            self.wanted += 1;
            entry.wanted = Some(self.added);
        }
        match entry.state {
            TopicState::Active => self.again.push(topic.clone()),
            // The permissions at Redis may have changed since.
            TopicState::Denied => {
                entry.state = TopicState::Absent;
                self.look_at(topic);
            }
            _ => self.look_at(topic),
        }
    }

    fn remove(&mut self, topic: &Topic) {
        let Some(entry) = self.topics.get_mut(topic) else { return };
        if entry.wanted.take().is_some() {
            self.wanted -= 1;
        }
        self.look_at(topic);
    }

    /// Queues a topic whose state differs from the wanted one, or drops one that is neither wanted nor subscribed. A
    /// topic that waits in `unequal` is dropped when it is taken from there.
    fn look_at(&mut self, topic: &Topic) {
        let Some(entry) = self.topics.get_mut(topic) else { return };
        if entry.is_nothing() && !entry.waits {
            self.topics.remove(topic);
        } else if self.connected && entry.needs().is_some() && !entry.waits {
            entry.waits = true;
            self.unequal.push_back(topic.clone());
        }
    }

    /// Starts a session, in which no topic is subscribed yet.
    pub(crate) fn connected(&mut self) {
        self.disconnected();
        self.connected = true;
        let mut wanted: Vec<_> = self.topics.iter().map(|(topic, entry)| (entry.wanted, topic.clone())).collect();
        wanted.sort_unstable_by_key(|(order, _)| *order);
        wanted.iter().for_each(|(_, topic)| self.look_at(topic));
    }

    /// Ends the session, and with it all its subscriptions.
    pub(crate) fn disconnected(&mut self) {
        self.connected = false;
        self.active = 0;
        self.unequal.clear();
        self.halves.clear();
        self.again.clear();
        self.topics.retain(|_, entry| {
            (entry.state, entry.waits) = (TopicState::Absent, false);
            entry.wanted.is_some()
        });
    }

    /// Returns the next command, with `max` names at most.
    pub(crate) fn next(&mut self, max: usize) -> Option<Change> {
        if max == 0 {
            return None;
        }
        if let Some(half) = self.halves.pop_front() {
            return Some(half);
        }
        // A command is of one kind. Topics of the other kind go back to the front, so the kinds take turns and neither
        // waits for all of the other.
        let (mut change, mut others) = (None::<Change>, Vec::new());
        while let Some(topic) = self.unequal.pop_front() {
            let Some(entry) = self.topics.get_mut(&topic) else { continue };
            entry.waits = false;
            let Some(kind) = entry.needs() else {
                self.look_at(&topic);
                continue;
            };
            let change = change.get_or_insert_with(|| Change { kind, topics: Vec::new() });
            if change.kind != kind {
                entry.waits = true;
                others.push(topic);
                continue;
            }
            if change.topics.len() == max {
                entry.waits = true;
                self.unequal.push_front(topic);
                break;
            }
            if entry.state == TopicState::Active {
                self.active -= 1;
            }
            entry.state = kind.under_way();
            change.topics.push(topic);
        }
        others.into_iter().rev().for_each(|topic| self.unequal.push_front(topic));
        change
    }

    /// Applies the confirmation of a command. Returns the topics that are now subscribed and wanted.
    pub(crate) fn confirmed(&mut self, change: &Change) -> Vec<Topic> {
        let mut subscribed = Vec::new();
        for topic in &change.topics {
            let Some(entry) = self.topics.get_mut(topic) else { continue };
            if entry.state != change.kind.under_way() {
                continue;
            }
            entry.state = change.kind.done();
            if entry.state == TopicState::Active {
                self.active += 1;
                if entry.wanted.is_some() {
                    subscribed.push(topic.clone());
                }
            }
            self.look_at(topic);
        }
        subscribed
    }

    /// Applies the refusal of a command. Redis refuses all names of a command if the ACL forbids one, so the command is
    /// tried again in halves. Returns the topic if it was refused alone.
    pub(crate) fn refused(&mut self, mut change: Change) -> Option<Topic> {
        if change.topics.len() > 1 {
            let topics = change.topics.split_off(change.topics.len() / 2);
            let other = Change { kind: change.kind, topics };
            self.halves.extend([change, other]);
            return None;
        }
        let topic = change.topics.pop()?;
        if let Some(entry) = self.topics.get_mut(&topic) {
            entry.state = TopicState::Denied;
            self.look_at(&topic);
        }
        Some(topic)
    }

    /// Takes the topics that were added while they were subscribed, and still are.
    pub(crate) fn take_again(&mut self) -> Vec<Topic> {
        let mut again = std::mem::take(&mut self.again);
        let is_subscribed = |entry: &Entry| entry.wanted.is_some() && entry.state == TopicState::Active;
        again.retain(|topic| self.topics.get(topic).is_some_and(is_subscribed));
        again.sort_unstable();
        again.dedup();
        again
    }

    pub(crate) fn has_work(&self) -> bool {
        !self.unequal.is_empty() || !self.halves.is_empty() || !self.again.is_empty()
    }

    /// The topic of this name, if it is wanted. It shares the text of the table, so that a message allocates none.
    pub(crate) fn wanted(&self, name: &str) -> Option<Topic> {
        let (topic, entry) = self.topics.get_key_value(name)?;
        entry.wanted.is_some().then(|| topic.clone())
    }

    pub(crate) fn is_active(&self, name: &str) -> bool {
        self.topics.get(name).is_some_and(|entry| entry.state == TopicState::Active)
    }

    /// Returns the number of topics that are wanted, and of those that are subscribed.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.wanted, self.active)
    }
}

impl Entry {
    fn needs(&self) -> Option<Kind> {
        match (self.wanted, self.state) {
            (Some(_), TopicState::Absent) => Some(Kind::Subscribe),
            (None, TopicState::Active) => Some(Kind::Unsubscribe),
            _ => None,
        }
    }

    /// Returns whether the table can do without the topic: at Redis nothing of it is left.
    fn is_nothing(&self) -> bool {
        self.wanted.is_none() && matches!(self.state, TopicState::Absent | TopicState::Denied)
    }
}

impl Kind {
    fn under_way(self) -> TopicState {
        match self {
            Kind::Subscribe => TopicState::Subscribing,
            Kind::Unsubscribe => TopicState::Unsubscribing,
        }
    }

    fn done(self) -> TopicState {
        match self {
            Kind::Subscribe => TopicState::Active,
            Kind::Unsubscribe => TopicState::Absent,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn topics(names: &[&str]) -> Vec<Topic> {
        names.iter().map(|name| Topic::from(*name)).collect()
    }

    fn subscribe(names: &[&str]) -> Option<Change> {
        Some(Change { kind: Kind::Subscribe, topics: topics(names) })
    }

    fn unsubscribe(names: &[&str]) -> Option<Change> {
        Some(Change { kind: Kind::Unsubscribe, topics: topics(names) })
    }

    /// Connected, with these confirmed.
    fn active(names: &[&str]) -> Subscriptions {
        let mut subscriptions = Subscriptions::default();
        subscriptions.connected();
        subscriptions.update_subscriptions(&topics(names), &[]);
        let change = subscriptions.next(512).expect("a command");
        assert_eq!(subscriptions.confirmed(&change), topics(names));
        subscriptions
    }

    #[test]
    fn topics_wanted_before_a_session_are_subscribed_in_the_order_of_their_addition() {
        let mut subscriptions = Subscriptions::default();
        assert!(!subscriptions.update_subscriptions(&topics(&["c", "b"]), &[]));
        subscriptions.update_subscriptions(&topics(&["a", "b"]), &topics(&["c"]));
        assert_eq!(subscriptions.next(512), None);
        subscriptions.connected();
        assert_eq!(subscriptions.next(512), subscribe(&["b", "a"]));
        assert_eq!((subscriptions.next(512), subscriptions.counts()), (None, (2, 0)));
    }

    #[test]
    fn commands_have_a_limited_number_of_names() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.connected();
        subscriptions.update_subscriptions(&topics(&["a", "b", "c"]), &[]);
        assert_eq!(subscriptions.next(0), None);
        assert_eq!(subscriptions.next(2), subscribe(&["a", "b"]));
        assert_eq!(subscriptions.next(2), subscribe(&["c"]));
        assert_eq!(subscriptions.next(2), None);
    }

    #[test]
    fn a_change_during_a_command_waits_for_its_answer() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.connected();
        subscriptions.update_subscriptions(&topics(&["a", "b"]), &[]);
        let change = subscriptions.next(512).expect("a command");
        subscriptions.update_subscriptions(&[], &topics(&["a"]));
        assert_eq!(subscriptions.next(512), None);
        assert_eq!(subscriptions.confirmed(&change), topics(&["b"]));
        let change = subscriptions.next(512).expect("a command");
        assert_eq!(Some(&change), unsubscribe(&["a"]).as_ref());
        subscriptions.update_subscriptions(&topics(&["a"]), &[]);
        assert_eq!(subscriptions.next(512), None);
        assert_eq!(subscriptions.confirmed(&change), []);
        assert_eq!(subscriptions.next(512), subscribe(&["a"]));
    }

    #[test]
    fn a_topic_removed_and_added_at_once_is_reported_again_without_a_command() {
        let mut subscriptions = active(&["a", "b"]);
        subscriptions.update_subscriptions(&[], &topics(&["a", "b"]));
        assert!(subscriptions.update_subscriptions(&topics(&["a", "a"]), &[]));
        assert_eq!(subscriptions.take_again(), topics(&["a"]));
        assert_eq!(subscriptions.next(512), unsubscribe(&["b"]));
        assert_eq!((subscriptions.next(512), subscriptions.counts()), (None, (1, 1)));
    }

    #[test]
    fn both_kinds_of_commands_take_turns() {
        let mut subscriptions = active(&["a", "b"]);
        subscriptions.update_subscriptions(&topics(&["c"]), &topics(&["a"]));
        subscriptions.update_subscriptions(&topics(&["d"]), &topics(&["b"]));
        assert_eq!(subscriptions.next(512), subscribe(&["c", "d"]));
        assert_eq!(subscriptions.next(512), unsubscribe(&["a", "b"]));
        assert_eq!(subscriptions.next(512), None);
    }

    #[test]
    fn a_refused_name_does_not_affect_the_others() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.connected();
        subscriptions.update_subscriptions(&topics(&["a", "bad", "c"]), &[]);
        let mut denied = Vec::new();
        while let Some(change) = subscriptions.next(512) {
            if change.topics.iter().any(|topic| topic.as_str() == "bad") {
                denied.extend(subscriptions.refused(change));
            } else {
                subscriptions.confirmed(&change);
            }
        }
        assert_eq!((denied, subscriptions.counts()), (topics(&["bad"]), (3, 2)));
        subscriptions.update_subscriptions(&topics(&["bad"]), &[]);
        assert_eq!(subscriptions.next(512), subscribe(&["bad"]), "it is tried again when it is added again");
    }

    #[test]
    fn a_new_session_starts_without_subscriptions() {
        let mut subscriptions = active(&["a"]);
        subscriptions.update_subscriptions(&topics(&["b"]), &[]);
        let old = subscriptions.next(512).expect("a command");
        subscriptions.disconnected();
        assert_eq!((subscriptions.next(512), subscriptions.counts()), (None, (2, 0)));
        subscriptions.connected();
        assert_eq!(subscriptions.confirmed(&old), [], "an answer to the old session");
        assert_eq!(subscriptions.next(512), subscribe(&["a", "b"]));
    }

    #[test]
    fn unwanted_topics_are_dropped() {
        let mut subscriptions = active(&["a"]);
        for _ in 0..3 {
            subscriptions.update_subscriptions(&topics(&["x"]), &topics(&["x", "a"]));
            while let Some(change) = subscriptions.next(512) {
                subscriptions.confirmed(&change);
            }
        }
        assert!(subscriptions.topics.is_empty() && !subscriptions.has_work(), "{subscriptions:?}");
    }

    proptest! {
        /// Topics are added and removed in any order, and answers, refusals and losses of the session come at any time
        /// between. Once everything is answered, Redis has exactly the wanted topics.
        #[test]
        fn the_two_sets_become_equal(steps in prop::collection::vec((0..6u8, 0..5u8), 0..200)) {
            let mut subscriptions = Subscriptions::default();
            let (mut wanted, mut redis) = (BTreeSet::new(), BTreeSet::new());
            let mut under_way = VecDeque::new();
            let apply = |redis: &mut BTreeSet<Topic>, change: &Change| match change.kind {
                Kind::Subscribe => redis.extend(change.topics.iter().cloned()),
                Kind::Unsubscribe => change.topics.iter().for_each(|topic| { redis.remove(topic); }),
            };
            for (step, name) in steps {
                let topic = Topic::from(name.to_string());
                match step {
                    0 | 1 => {
                        wanted.insert(topic.clone());
                        subscriptions.update_subscriptions(&[topic], &[]);
                    }
                    2 => {
                        wanted.remove(&topic);
                        subscriptions.update_subscriptions(&[], &[topic]);
                    }
                    3 => under_way.extend(subscriptions.next(usize::from(name))),
                    4 => if let Some(change) = under_way.pop_front() {
                        if name == 0 && change.topics.len() > 1 {
                            subscriptions.refused(change);
                        } else {
                            apply(&mut redis, &change);
                            for topic in subscriptions.confirmed(&change) {
                                prop_assert!(wanted.contains(&topic) && redis.contains(&topic));
                            }
                        }
                    },
                    _ if name == 0 => {
                        redis.clear();
                        under_way.clear();
                        subscriptions.connected();
                    }
                    _ => {}
                }
            }
            if !subscriptions.connected {
                subscriptions.connected();
            }
            while let Some(change) = under_way.pop_front().or_else(|| subscriptions.next(3)) {
                apply(&mut redis, &change);
                subscriptions.confirmed(&change);
            }
            prop_assert_eq!(&redis, &wanted);
            prop_assert_eq!(subscriptions.counts(), (wanted.len(), wanted.len()));
        }
    }
}
