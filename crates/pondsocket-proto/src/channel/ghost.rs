//! The members without connections: for a while they stay, in case they come back.

use std::collections::{BTreeSet, HashMap};

use crate::id::UserId;

/// The end of the grace of a ghost that was saved for another server: it does not come on this one.
const SAVED: u64 = u64::MAX;

/// The latest end of a grace on this server.
pub(super) const LATEST: u64 = SAVED - 1;

/// The members of a channel that have lost their last connection and are in their presence grace. The time is the
/// caller's, in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Ghosts {
    by_user: HashMap<UserId, Ghost>,
    /// The same by the ends of their grace, the earliest first.
    ends: BTreeSet<(u64, UserId)>,
}

#[derive(Clone, Copy, Debug)]
struct Ghost {
    until: u64,
    /// The time of the user's latest join on another node when the grace began; `None` if no other node had the user.
    elsewhere: Option<u64>,
}

impl Ghosts {
    pub(super) fn len(&self) -> usize {
        self.by_user.len()
    }

    pub(super) fn contains(&self, user: &str) -> bool {
        self.by_user.contains_key(user)
    }

    /// Begins the grace of a user.
    pub(super) fn begin(&mut self, user: &UserId, until: u64, elsewhere: Option<u64>) {
        self.end(user);
        let until = until.min(LATEST);
        self.by_user.insert(user.clone(), Ghost { until, elsewhere });
        self.ends.insert((until, user.clone()));
    }

    /// Ends the grace of a user. Returns `false` if it was in none.
    pub(super) fn end(&mut self, user: &UserId) -> bool {
        let Some((user, ghost)) = self.by_user.remove_entry(user) else { return false };
        self.ends.remove(&(ghost.until, user))
    }

    /// Returns whether a user has joined on another node since its grace began, given the time of its latest join there.
    /// Both times are of other nodes, so the clock of this node has no part in it.
    pub(super) fn is_back_elsewhere(&self, user: &UserId, joined: u64) -> bool {
        self.by_user.get(user).is_some_and(|ghost| ghost.elsewhere.is_none_or(|before| joined > before))
    }

    /// The users, with the ends of their grace on this server, the earliest first. One that was saved has none.
    pub(super) fn ends(&self) -> impl Iterator<Item = (u64, &UserId)> {
        self.ends.iter().filter(|(until, _)| *until != SAVED).map(|(until, user)| (*until, user))
    }

    /// Notes that a ghost was saved for another server, where its grace goes on.
    pub(super) fn save(&mut self, user: &UserId) {
        if let Some(ghost) = self.by_user.get_mut(user) {
            self.ends.remove(&(ghost.until, user.clone()));
            ghost.until = SAVED;
            self.ends.insert((SAVED, user.clone()));
        }
    }

    /// The user whose grace ends first, if it has ended by `now`.
    pub(super) fn first_due(&self, now: u64) -> Option<&UserId> {
        self.ends.first().filter(|(until, _)| *until <= now).map(|(_, user)| user)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn user(number: u8) -> UserId {
        UserId::new(&format!("user-{number}")).expect("a valid id")
    }

    #[derive(Clone, Debug)]
    enum Step {
        Begin(u8, u64),
        End(u8),
        Save(u8),
        Expire(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..6_u8, 0..50_u64).prop_map(|(user, until)| Step::Begin(user, until)),
            (0..6_u8).prop_map(Step::End),
            (0..6_u8).prop_map(Step::Save),
            (0..60_u64).prop_map(Step::Expire),
        ]
    }

    proptest! {
        /// Against a map of the ends: each user is due once, at the end of its latest grace and in the order of the ends,
        /// and one that has come back, or was saved, is not.
        #[test]
        fn each_grace_ends_once(steps in prop::collection::vec(step(), 0..60)) {
            let (mut ghosts, mut model) = (Ghosts::default(), BTreeMap::new());
            for step in steps {
                match step {
                    Step::Begin(number, until) => {
                        ghosts.begin(&user(number), until, None);
                        model.insert(number, until);
                    }
                    Step::End(number) => {
                        prop_assert_eq!(ghosts.end(&user(number)), model.remove(&number).is_some());
                    }
                    Step::Save(number) => {
                        ghosts.save(&user(number));
                        model.entry(number).and_modify(|until| *until = SAVED);
                    }
                    Step::Expire(now) => {
                        let mut due = Vec::new();
                        while let Some(first) = ghosts.first_due(now).cloned() {
                            due.push(first.clone());
                            prop_assert!(ghosts.end(&first));
                        }
                        let mut expected: Vec<_> = model.iter().filter(|(_, until)| **until <= now).collect();
                        expected.sort_by_key(|(number, until)| (**until, **number));
                        let expected: Vec<_> = expected.into_iter().map(|(number, _)| user(*number)).collect();
                        prop_assert_eq!(due, expected);
                        model.retain(|_, until| *until > now);
                    }
                }
                prop_assert_eq!(ghosts.len(), model.len());
                prop_assert_eq!(ghosts.ends.len(), model.len());
                let known = model.values().filter(|until| **until != SAVED).count();
                prop_assert_eq!(ghosts.ends().count(), known);
                prop_assert!((0..6).all(|number| ghosts.contains(user(number).as_str()) == model.contains_key(&number)));
            }
        }
    }

    #[test]
    fn only_a_join_since_the_begin_is_a_return_to_another_node() {
        let mut ghosts = Ghosts::default();
        ghosts.begin(&user(1), 9, None);
        ghosts.begin(&user(2), 9, Some(5));
        assert!(ghosts.is_back_elsewhere(&user(1), 0), "no other node had it");
        assert!(!ghosts.is_back_elsewhere(&user(2), 5), "that node had it all the time");
        assert!(ghosts.is_back_elsewhere(&user(2), 6));
        assert!(!ghosts.is_back_elsewhere(&user(3), 6), "it is no ghost");
    }
}
