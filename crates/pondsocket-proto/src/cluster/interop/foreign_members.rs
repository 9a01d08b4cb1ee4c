//! The users of foreign nodes in one channel. These nodes do not version changes, so the last write wins. The list of
//! one node may contain users of others, so a join takes precedence over a list (docs/cluster.md, Nodes of other
//! languages).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::cluster::Settings;
use crate::cluster::replication::Users;
use crate::id::UserId;
use crate::model::Assigns;
use crate::wire::{Json, Object};

/// A user of a foreign node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::cluster) struct ForeignMember {
    home: Home,
    pub(in crate::cluster) assigns: Assigns,
    pub(in crate::cluster) presence: Option<Object>,
}

/// The node of a foreign user: certain after a join, otherwise one of the nodes that have listed the user.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Home {
    /// The node that has published the join of the user.
    Node(Arc<str>),
    /// The nodes that have listed the user, without a join from any node. The user may be on any of them or on another
    /// one, and is gone when no node lists it any more.
    Listed(BTreeSet<Arc<str>>),
}

impl ForeignMember {
    /// The name of a node, by which entries of one user are ordered.
    pub(in crate::cluster) fn home(&self) -> &str {
        match &self.home {
            Home::Node(node) => node,
            Home::Listed(by) => by.first().map_or("", |node| node),
        }
    }
}

/// The users in one channel of all foreign nodes.
#[derive(Debug)]
pub(super) struct ForeignMembers {
    users: BTreeMap<UserId, ForeignMember>,
    /// The nodes that have published a message in this channel.
    nodes: BTreeSet<Arc<str>>,
    left: Leavers,
}

impl ForeignMembers {
    pub(super) fn new(settings: &Settings) -> ForeignMembers {
        // The memory of leavers only guards against lists of foreign nodes.
        let most = if settings.interop { settings.max_leavers } else { 0 };
        let left = Leavers::new(settings.leaver_memory, most);
        ForeignMembers { users: BTreeMap::new(), nodes: BTreeSet::new(), left }
    }

    pub(super) fn get(&self, user: &UserId) -> Option<&ForeignMember> {
        self.users.get(user)
    }

    pub(super) fn users(&self) -> impl ExactSizeIterator<Item = &UserId> {
        self.users.keys()
    }

    /// Returns whether foreign nodes are in this channel.
    pub(super) fn has_nodes(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// Notes a message of a node in this channel. Returns whether it is the first.
    pub(super) fn note(&mut self, node: &Arc<str>) -> bool {
        !self.nodes.contains(node) && self.nodes.insert(node.clone())
    }

    /// Returns whether the node has published the join of the user.
    pub(super) fn is_at(&self, user: &UserId, node: &str) -> bool {
        self.users.get(user).is_some_and(|member| matches!(&member.home, Home::Node(home) if **home == *node))
    }

    /// Puts a user on the node that it has joined, wherever it was before.
    pub(super) fn join(&mut self, node: &Arc<str>, user: UserId, assigns: Assigns, presence: Option<Object>) {
        // A join is newer than the leave before it, so lists may name the user again.
        self.left.take(&user);
        // The presence may have arrived before the join: some nodes publish in no particular order.
        let before = self.users.remove(&user).and_then(|member| member.presence);
        let home = Home::Node(node.clone());
        self.users.insert(user, ForeignMember { home, assigns, presence: tracked(presence).or(before) });
    }

    /// Applies a list of all users that a node knows. Returns the users that this changes.
    pub(super) fn list(&mut self, node: &Arc<str>, users: Users, now: u64) -> Vec<UserId> {
        // A node lists all users that it knows, so it no longer lists those that are missing.
        let mut changed = self.unlist_by(|user, by| by == node && !users.contains_key(user));
        for (user, entry) in users {
            if !self.left.contains(&user, now) && self.list_one(node, &user, entry.assigns, tracked(entry.presence)) {
                changed.push(user);
            }
        }
        changed
    }

    fn list_one(&mut self, node: &Arc<str>, user: &UserId, assigns: Assigns, presence: Option<Object>) -> bool {
        let Some(member) = self.users.get_mut(user) else {
            let home = Home::Listed([node.clone()].into());
            self.users.insert(user.clone(), ForeignMember { home, assigns, presence });
            return true;
        };
        match &mut member.home {
            // The sender has this entry at second hand, and perhaps an outdated one.
            Home::Node(home) if home != node => return false,
            Home::Node(_) => {}
            Home::Listed(by) => drop(by.insert(node.clone())),
        }
        member.assigns = assigns;
        member.presence = presence;
        true
    }

    /// Changes the presence of a user, whichever node has published it. An unknown user is put on that node: the join
    /// may still arrive, or may have been published before this node was subscribed.
    pub(super) fn show(&mut self, node: &Arc<str>, user: UserId, presence: Option<Object>) {
        if let Some(member) = self.users.get_mut(&user) {
            member.presence = presence;
        } else if presence.is_some() {
            let home = Home::Node(node.clone());
            self.users.insert(user, ForeignMember { home, assigns: Assigns::default(), presence });
        }
    }

    /// Changes the presence of a user, if it is known.
    pub(super) fn show_known(&mut self, user: &UserId, presence: Object) {
        if let Some(member) = self.users.get_mut(user) {
            member.presence = Some(presence);
        }
    }

    /// The assigns that a known user would have after a change. The caller applies the limits to them before `assign`.
    pub(super) fn assigned(
        &self,
        user: &UserId,
        assigns: Option<Assigns>,
        delta: Option<(String, Json)>,
    ) -> Option<Assigns> {
        let mut all = self.users.get(user)?.assigns.clone();
        match (assigns, delta) {
            (_, Some((key, value))) => all.set(&key, &value),
            (Some(assigns), None) => all = assigns,
            (None, None) => {}
        }
        Some(all)
    }

    /// Changes the assigns of a known user, whichever node has published the change.
    pub(super) fn assign(&mut self, user: &UserId, assigns: Option<Assigns>, delta: Option<(String, Json)>) {
        let Some(member) = self.users.get_mut(user) else { return };
        match (assigns, delta) {
            // The single change counts: the complete assigns beside it may be outdated.
            (_, Some((key, value))) => member.assigns.set(&key, &value),
            (Some(assigns), None) => member.assigns = assigns,
            (None, None) => {}
        }
    }

    /// Removes a user that has left, or is to be removed. For a while no list restores it.
    pub(super) fn leave(&mut self, user: &UserId, now: u64) {
        self.note_leaving(user, now);
        self.users.remove(user);
    }

    /// Notes that a user has left a node of our kind. For a while no list restores it, not even one of a foreign node
    /// that is not known here yet.
    pub(super) fn note_leaving(&mut self, user: &UserId, now: u64) {
        self.left.add(user, now);
    }

    /// Removes a user that is on a node of our kind, if foreign nodes have only listed it: the lists meant that user.
    pub(super) fn unlist(&mut self, user: &UserId) {
        if self.users.get(user).is_some_and(|member| matches!(member.home, Home::Listed(_))) {
            self.users.remove(user);
        }
    }

    /// Removes the users of dead nodes, and returns them.
    pub(super) fn remove_nodes(&mut self, dead: &BTreeSet<Arc<str>>) -> Vec<UserId> {
        self.nodes.retain(|node| !dead.contains(node));
        let mut gone = self.unlist_by(|_, node| dead.contains(node));
        self.users.retain(|user, member| {
            let is_at_home = matches!(&member.home, Home::Node(node) if dead.contains(node));
            if is_at_home {
                gone.push(user.clone());
            }
            !is_at_home
        });
        gone
    }

    /// Removes the nodes for which `is_over` is true from the listed users. Returns the users that no other node lists.
    fn unlist_by(&mut self, is_over: impl Fn(&UserId, &Arc<str>) -> bool) -> Vec<UserId> {
        let mut gone = Vec::new();
        self.users.retain(|user, member| {
            let Home::Listed(by) = &mut member.home else { return true };
            by.retain(|node| !is_over(user, node));
            if by.is_empty() {
                gone.push(user.clone());
            }
            !by.is_empty()
        });
        gone
    }
}

/// The users that have left recently, in that order, with the time until which each is remembered.
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
        // Bounded by number as well as by time, because users can leave and join again at any rate.
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

/// The presence of a foreign user. Some nodes publish `{}` for a user without presence.
pub(super) fn tracked(presence: Option<Object>) -> Option<Object> {
    presence.filter(|presence| !presence.as_str()[1..].trim_start().starts_with('}'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::replication::users::tests::{entry, object, user, users};
    use crate::cluster::{NodeId, Topics};

    fn members() -> ForeignMembers {
        let id = NodeId { name: "me".into(), incarnation: 1 };
        let settings = Settings::new(id, Topics::new("p", "n"));
        ForeignMembers::new(&Settings { leaver_memory: 120, max_leavers: 2, ..settings })
    }

    fn node(name: &str) -> Arc<str> {
        name.into()
    }

    fn dead(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|name| node(name)).collect()
    }

    fn names(members: &ForeignMembers) -> Vec<&str> {
        members.users().map(UserId::as_str).collect()
    }

    fn list(members: &mut ForeignMembers, by: &str, name: &str, now: u64) -> bool {
        members.list(&node(by), users([(name, entry(0, None))]), now) == [user(name)]
    }

    fn join(members: &mut ForeignMembers, at: &str, name: &str) {
        members.join(&node(at), user(name), Assigns::default(), Some(object("{}")));
    }

    #[test]
    fn a_join_moves_a_user_and_a_list_does_not() {
        let mut members = members();
        join(&mut members, "a", "ada");
        assert!(!list(&mut members, "b", "ada", 0));
        assert!(members.is_at(&user("ada"), "a"));
        join(&mut members, "b", "ada");
        assert!(members.is_at(&user("ada"), "b"));
        assert_eq!(members.remove_nodes(&dead(&["a"])), []);
        assert_eq!(members.remove_nodes(&dead(&["b"])), [user("ada")]);
    }

    #[test]
    fn a_listed_user_is_gone_with_the_last_node_that_listed_it() {
        let mut members = members();
        assert!(list(&mut members, "a", "ada", 0) && list(&mut members, "b", "ada", 0));
        assert_eq!(members.remove_nodes(&dead(&["a"])), []);
        assert_eq!(names(&members), ["ada"]);
        assert_eq!(members.remove_nodes(&dead(&["b"])), [user("ada")]);
    }

    #[test]
    fn a_listed_user_is_gone_when_no_node_lists_it_any_more() {
        let mut members = members();
        join(&mut members, "a", "bob");
        assert!(list(&mut members, "a", "ada", 0) && list(&mut members, "b", "ada", 0));
        assert_eq!(members.list(&node("a"), users([]), 0), []);
        assert_eq!(names(&members), ["ada", "bob"]);
        assert_eq!(members.list(&node("b"), users([]), 0), [user("ada")]);
        assert_eq!(names(&members), ["bob"]);
    }

    #[test]
    fn a_user_that_has_left_is_not_restored_by_lists_for_a_while_but_may_join() {
        let mut members = members();
        join(&mut members, "a", "ada");
        members.leave(&user("ada"), 0);
        assert!(!list(&mut members, "b", "ada", 119));
        assert!(list(&mut members, "b", "ada", 120));
        members.leave(&user("ada"), 120);
        join(&mut members, "a", "ada");
        assert_eq!(names(&members), ["ada"]);
    }

    #[test]
    fn the_number_of_remembered_leavers_is_limited() {
        let mut members = members();
        for name in ["ada", "bob", "eve"] {
            members.leave(&user(name), 0);
        }
        assert!(list(&mut members, "a", "ada", 0));
        assert!(!list(&mut members, "a", "bob", 0));
        members.leave(&user("zoe"), 120);
        assert_eq!(members.left.order, [user("zoe")], "the others may be listed again");
    }

    #[test]
    fn presence_may_come_before_the_join() {
        let mut members = members();
        members.show(&node("a"), user("ada"), Some(object(r#"{"x":1}"#)));
        join(&mut members, "a", "ada");
        assert_eq!(members.get(&user("ada")).expect("there").presence, Some(object(r#"{"x":1}"#)));
        members.show(&node("b"), user("ada"), None);
        assert_eq!(members.get(&user("ada")).expect("there").presence, None);
        members.show(&node("b"), user("bob"), None);
        assert_eq!(names(&members), ["ada"]);
    }

    #[test]
    fn assigns_of_a_known_user_are_replaced_or_changed() {
        let mut members = members();
        let one = Json::from_raw("1").expect("JSON");
        members.assign(&user("ada"), Some(Assigns::default()), None);
        assert_eq!(names(&members), [""; 0]);
        join(&mut members, "a", "ada");
        members.assign(&user("ada"), None, Some(("k".into(), one.clone())));
        assert_eq!(members.get(&user("ada")).expect("there").assigns.get("k"), Some(one));
        members.assign(&user("ada"), Some(Assigns::default()), None);
        assert!(members.get(&user("ada")).expect("there").assigns.is_empty());
    }

    #[test]
    fn a_listed_user_of_a_node_of_our_kind_is_not_foreign() {
        let mut members = members();
        list(&mut members, "a", "ada", 0);
        join(&mut members, "a", "bob");
        members.unlist(&user("ada"));
        members.unlist(&user("bob"));
        assert_eq!(names(&members), ["bob"]);
    }

    #[test]
    fn an_empty_presence_is_none() {
        assert_eq!(tracked(Some(object("{}"))), None);
        assert_eq!(tracked(None), None);
        assert_eq!(tracked(Some(object(r#"{"a":1}"#))), Some(object(r#"{"a":1}"#)));
    }
}
