//! Nodes of other languages, and their users. They count no changes, so the last word wins; and what one of them lists
//! may be others' users, so a list is believed less than a join (docs/cluster.md, Nodes of other languages).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::Settings;
use super::record::Users;
use crate::id::UserId;
use crate::model::Assigns;
use crate::wire::{Json, Object};

/// Which of them live, by the names they sign with.
#[derive(Debug)]
pub(super) struct LegacyNodes {
    heard: BTreeMap<Arc<str>, u64>,
    lifetime: u64,
    most: usize,
}

impl LegacyNodes {
    pub(super) fn new(lifetime: u64, most: usize) -> LegacyNodes {
        LegacyNodes { heard: BTreeMap::new(), lifetime, most }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.heard.is_empty()
    }

    /// It has said something. If there are too many, the one that was silent longest is dead by that.
    pub(super) fn heard(&mut self, source: &Arc<str>, now: u64) -> Option<Arc<str>> {
        if let Some(heard) = self.heard.get_mut(source) {
            *heard = now;
            return None;
        }
        let is_full = self.heard.len() >= self.most;
        let dead = if is_full { self.most_silent() } else { None };
        if let Some(dead) = &dead {
            self.heard.remove(dead);
        }
        self.heard.insert(source.clone(), now);
        dead
    }

    fn most_silent(&self) -> Option<Arc<str>> {
        self.heard.iter().min_by_key(|(_, heard)| **heard).map(|(source, _)| source.clone())
    }

    /// Those that have been silent for too long. They are unknown from then on.
    pub(super) fn bury(&mut self, now: u64) -> BTreeSet<Arc<str>> {
        let is_dead = |heard: u64| now >= heard + self.lifetime;
        let dead: BTreeSet<_> =
            self.heard.iter().filter(|(_, at)| is_dead(**at)).map(|(name, _)| name.clone()).collect();
        self.heard.retain(|source, _| !dead.contains(source));
        dead
    }

    /// They could not be heard for a while: their silence counts from now.
    pub(super) fn excuse(&mut self, now: u64) {
        self.heard.values_mut().for_each(|heard| *heard = now);
    }
}

/// A user of a node of another language.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Guest {
    home: Home,
    pub(super) assigns: Assigns,
    pub(super) presence: Option<Object>,
}

/// Where it is.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Home {
    /// This node has said that it joined there.
    Node(Arc<str>),
    /// It was only listed, by these: it may be anywhere, and is gone when all of them are.
    Listed(BTreeSet<Arc<str>>),
}

impl Guest {
    /// A name to order it by.
    pub(super) fn home(&self) -> &str {
        match &self.home {
            Home::Node(node) => node,
            Home::Listed(by) => by.first().map_or("", |node| node),
        }
    }
}

/// The users in one channel of all nodes of other languages.
#[derive(Debug)]
pub(super) struct Guests {
    users: BTreeMap<UserId, Guest>,
    /// The nodes that have said something in this channel.
    nodes: BTreeSet<Arc<str>>,
    left: Leavers,
}

impl Guests {
    pub(super) fn new(settings: &Settings) -> Guests {
        // Without nodes of other languages nobody lists whom it does not own.
        let most = if settings.interop { settings.max_leavers } else { 0 };
        let left = Leavers::new(settings.leaver_memory, most);
        Guests { users: BTreeMap::new(), nodes: BTreeSet::new(), left }
    }

    pub(super) fn get(&self, user: &UserId) -> Option<&Guest> {
        self.users.get(user)
    }

    pub(super) fn users(&self) -> impl ExactSizeIterator<Item = &UserId> {
        self.users.keys()
    }

    /// Whether nodes of other languages are in this channel.
    pub(super) fn has_nodes(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// It has said something in this channel. Answers whether that is the first thing.
    pub(super) fn note(&mut self, node: &Arc<str>) -> bool {
        !self.nodes.contains(node) && self.nodes.insert(node.clone())
    }

    /// Whether the node has said that the user joined there.
    pub(super) fn is_at(&self, user: &UserId, node: &str) -> bool {
        self.users.get(user).is_some_and(|guest| matches!(&guest.home, Home::Node(home) if **home == *node))
    }

    /// It has joined there, wherever it was before.
    pub(super) fn join(&mut self, node: &Arc<str>, user: UserId, assigns: Assigns, presence: Option<Object>) {
        self.left.take(&user);
        // Its presence may have come before the join: some nodes send in no order.
        let before = self.users.remove(&user).and_then(|guest| guest.presence);
        let home = Home::Node(node.clone());
        self.users.insert(user, Guest { home, assigns, presence: shown(presence).or(before) });
    }

    /// A node lists all users that it knows. Answers with those that this changes.
    pub(super) fn list(&mut self, node: &Arc<str>, users: Users, now: u64) -> Vec<UserId> {
        let mut changed = self.unlist_by(|user, by| by == node && !users.contains_key(user));
        for (user, entry) in users {
            if !self.left.contains(&user, now) && self.list_one(node, &user, entry.assigns, shown(entry.presence)) {
                changed.push(user);
            }
        }
        changed
    }

    fn list_one(&mut self, node: &Arc<str>, user: &UserId, assigns: Assigns, presence: Option<Object>) -> bool {
        let Some(guest) = self.users.get_mut(user) else {
            let home = Home::Listed([node.clone()].into());
            self.users.insert(user.clone(), Guest { home, assigns, presence });
            return true;
        };
        match &mut guest.home {
            Home::Node(home) if home != node => return false,
            Home::Node(_) => {}
            Home::Listed(by) => drop(by.insert(node.clone())),
        }
        guest.assigns = assigns;
        guest.presence = presence;
        true
    }

    /// What it shows of itself, whoever says so. One that is not known is where that was said.
    pub(super) fn show(&mut self, node: &Arc<str>, user: UserId, presence: Option<Object>) {
        if let Some(guest) = self.users.get_mut(&user) {
            guest.presence = presence;
        } else if presence.is_some() {
            let home = Home::Node(node.clone());
            self.users.insert(user, Guest { home, assigns: Assigns::default(), presence });
        }
    }

    /// What it shows of itself, if it is known.
    pub(super) fn show_known(&mut self, user: &UserId, presence: Object) {
        if let Some(guest) = self.users.get_mut(user) {
            guest.presence = Some(presence);
        }
    }

    /// All its assigns after a change of them, if it is known.
    pub(super) fn assigned(
        &self,
        user: &UserId,
        assigns: Option<Assigns>,
        delta: Option<(String, Json)>,
    ) -> Option<Assigns> {
        let mut all = self.users.get(user)?.assigns.clone();
        match (assigns, delta) {
            (_, Some((key, value))) => all.set(&key, value),
            (Some(assigns), None) => all = assigns,
            (None, None) => {}
        }
        Some(all)
    }

    /// Its assigns have changed, whoever says so.
    pub(super) fn assign(&mut self, user: &UserId, assigns: Option<Assigns>, delta: Option<(String, Json)>) {
        let Some(guest) = self.users.get_mut(user) else { return };
        match (assigns, delta) {
            (_, Some((key, value))) => guest.assigns.set(&key, value),
            (Some(assigns), None) => guest.assigns = assigns,
            (None, None) => {}
        }
    }

    /// It has left, or has to. For a while, nobody's list brings it back.
    pub(super) fn leave(&mut self, user: &UserId, now: u64) {
        self.note_leaving(user, now);
        self.users.remove(user);
    }

    /// It has left one of our nodes. For a while, nobody's list brings it back: also none of a node that has said nothing
    /// here yet.
    pub(super) fn note_leaving(&mut self, user: &UserId, now: u64) {
        self.left.add(user, now);
    }

    /// A node of ours has it: if it was only listed, that was meant.
    pub(super) fn unlist(&mut self, user: &UserId) {
        if self.users.get(user).is_some_and(|guest| matches!(guest.home, Home::Listed(_))) {
            self.users.remove(user);
        }
    }

    /// These nodes are dead. Answers with the users that went with them.
    pub(super) fn bury(&mut self, dead: &BTreeSet<Arc<str>>) -> Vec<UserId> {
        self.nodes.retain(|node| !dead.contains(node));
        let mut gone = self.unlist_by(|_, node| dead.contains(node));
        self.users.retain(|user, guest| {
            let is_at_home = matches!(&guest.home, Home::Node(node) if dead.contains(node));
            if is_at_home {
                gone.push(user.clone());
            }
            !is_at_home
        });
        gone
    }

    /// A user is not listed any more by the nodes of which this is true. Answers with those whom nobody else lists.
    fn unlist_by(&mut self, is_over: impl Fn(&UserId, &Arc<str>) -> bool) -> Vec<UserId> {
        let mut gone = Vec::new();
        self.users.retain(|user, guest| {
            let Home::Listed(by) = &mut guest.home else { return true };
            by.retain(|node| !is_over(user, node));
            if by.is_empty() {
                gone.push(user.clone());
            }
            !by.is_empty()
        });
        gone
    }
}

/// Those who left lately, in the order in which they did, and until when that is remembered.
#[derive(Debug)]
struct Leavers {
    until: BTreeMap<UserId, u64>,
    order: VecDeque<UserId>,
    time: u64,
    most: usize,
}

impl Leavers {
    fn new(time: u64, most: usize) -> Leavers {
        Leavers { until: BTreeMap::new(), order: VecDeque::new(), time, most }
    }

    fn add(&mut self, user: &UserId, now: u64) {
        self.take(user);
        self.until.insert(user.clone(), now + self.time);
        self.order.push_back(user.clone());
        while let Some(first) = self.order.front()
            && (self.order.len() > self.most || !self.contains(first, now))
        {
            self.until.remove(first);
            self.order.pop_front();
        }
    }

    fn take(&mut self, user: &UserId) {
        if self.until.remove(user).is_some() {
            self.order.retain(|other| other != user);
        }
    }

    fn contains(&self, user: &UserId, now: u64) -> bool {
        self.until.get(user).is_some_and(|until| now < *until)
    }
}

/// Some nodes say `{}` for one who shows nothing.
pub(super) fn shown(presence: Option<Object>) -> Option<Object> {
    presence.filter(|presence| !presence.as_str()[1..].trim_start().starts_with('}'))
}

#[cfg(test)]
mod tests {
    use super::super::Topics;
    use super::super::record::tests::{entry, object, user, users};
    use super::*;

    fn guests() -> Guests {
        let id = super::super::NodeId { name: "me".into(), incarnation: 1 };
        let settings = Settings::new(id, Topics::new("p", "n"));
        Guests::new(&Settings { leaver_memory: 120, max_leavers: 2, ..settings })
    }

    fn node(name: &str) -> Arc<str> {
        name.into()
    }

    fn dead(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|name| node(name)).collect()
    }

    fn names(guests: &Guests) -> Vec<&str> {
        guests.users().map(UserId::as_str).collect()
    }

    fn list(guests: &mut Guests, by: &str, name: &str, now: u64) -> bool {
        guests.list(&node(by), users([(name, entry(0, None))]), now) == [user(name)]
    }

    fn join(guests: &mut Guests, at: &str, name: &str) {
        guests.join(&node(at), user(name), Assigns::default(), Some(object("{}")));
    }

    #[test]
    fn a_silent_node_is_dead_and_of_too_many_the_most_silent() {
        let mut nodes = LegacyNodes::new(90, 2);
        assert_eq!(nodes.heard(&node("a"), 0), None);
        assert_eq!(nodes.heard(&node("b"), 1), None);
        assert_eq!(nodes.heard(&node("a"), 2), None);
        assert_eq!(nodes.heard(&node("c"), 3), Some(node("b")));
        assert_eq!(nodes.bury(91), dead(&[]));
        assert_eq!(nodes.bury(92), dead(&["a"]));
        nodes.excuse(92);
        assert_eq!(nodes.bury(100), dead(&[]));
        assert!(!nodes.is_empty());
    }

    #[test]
    fn a_join_moves_a_user_and_a_list_does_not() {
        let mut guests = guests();
        join(&mut guests, "a", "ada");
        assert!(!list(&mut guests, "b", "ada", 0));
        assert!(guests.is_at(&user("ada"), "a"));
        join(&mut guests, "b", "ada");
        assert!(guests.is_at(&user("ada"), "b"));
        assert_eq!(guests.bury(&dead(&["a"])), []);
        assert_eq!(guests.bury(&dead(&["b"])), [user("ada")]);
    }

    #[test]
    fn who_is_only_listed_goes_with_the_last_who_listed_it() {
        let mut guests = guests();
        assert!(list(&mut guests, "a", "ada", 0) && list(&mut guests, "b", "ada", 0));
        assert_eq!(guests.bury(&dead(&["a"])), []);
        assert_eq!(names(&guests), ["ada"]);
        assert_eq!(guests.bury(&dead(&["b"])), [user("ada")]);
    }

    #[test]
    fn who_is_only_listed_goes_when_those_who_listed_it_do_not_any_more() {
        let mut guests = guests();
        join(&mut guests, "a", "bob");
        assert!(list(&mut guests, "a", "ada", 0) && list(&mut guests, "b", "ada", 0));
        assert_eq!(guests.list(&node("a"), users([]), 0), []);
        assert_eq!(names(&guests), ["ada", "bob"]);
        assert_eq!(guests.list(&node("b"), users([]), 0), [user("ada")]);
        assert_eq!(names(&guests), ["bob"]);
    }

    #[test]
    fn who_left_is_not_listed_again_for_a_while_but_may_join() {
        let mut guests = guests();
        join(&mut guests, "a", "ada");
        guests.leave(&user("ada"), 0);
        assert!(!list(&mut guests, "b", "ada", 119));
        assert!(list(&mut guests, "b", "ada", 120));
        guests.leave(&user("ada"), 120);
        join(&mut guests, "a", "ada");
        assert_eq!(names(&guests), ["ada"]);
    }

    #[test]
    fn so_many_leavers_are_remembered() {
        let mut guests = guests();
        for name in ["ada", "bob", "eve"] {
            guests.leave(&user(name), 0);
        }
        assert!(list(&mut guests, "a", "ada", 0));
        assert!(!list(&mut guests, "a", "bob", 0));
        guests.leave(&user("zoe"), 120);
        assert_eq!(guests.left.order, [user("zoe")], "the others may be listed again");
    }

    #[test]
    fn presence_may_come_before_the_join() {
        let mut guests = guests();
        guests.show(&node("a"), user("ada"), Some(object(r#"{"x":1}"#)));
        join(&mut guests, "a", "ada");
        assert_eq!(guests.get(&user("ada")).expect("there").presence, Some(object(r#"{"x":1}"#)));
        guests.show(&node("b"), user("ada"), None);
        assert_eq!(guests.get(&user("ada")).expect("there").presence, None);
        guests.show(&node("b"), user("bob"), None);
        assert_eq!(names(&guests), ["ada"]);
    }

    #[test]
    fn assigns_of_who_is_known_are_replaced_or_changed() {
        let mut guests = guests();
        let one = Json::from_raw("1").expect("JSON");
        guests.assign(&user("ada"), Some(Assigns::default()), None);
        assert_eq!(names(&guests), [""; 0]);
        join(&mut guests, "a", "ada");
        guests.assign(&user("ada"), None, Some(("k".into(), one.clone())));
        assert_eq!(guests.get(&user("ada")).expect("there").assigns.get("k"), Some(&one));
        guests.assign(&user("ada"), Some(Assigns::default()), None);
        assert!(guests.get(&user("ada")).expect("there").assigns.is_empty());
    }

    #[test]
    fn one_of_ours_is_not_a_guest_if_it_was_only_listed() {
        let mut guests = guests();
        list(&mut guests, "a", "ada", 0);
        join(&mut guests, "a", "bob");
        guests.unlist(&user("ada"));
        guests.unlist(&user("bob"));
        assert_eq!(names(&guests), ["bob"]);
    }

    #[test]
    fn an_empty_presence_is_none() {
        assert_eq!(shown(Some(object("{}"))), None);
        assert_eq!(shown(None), None);
        assert_eq!(shown(Some(object(r#"{"a":1}"#))), Some(object(r#"{"a":1}"#)));
    }
}
