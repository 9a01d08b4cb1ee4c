//! The users of one node of ours in one channel, as they are known on another node, and the merging of messages about them
//! (docs/cluster.md, State that converges).
//!
//! Only the owner changes its users, and it counts the changes. So two numbers tell what is newer, and merging takes the
//! larger: the same messages lead to the same record, in whatever order and however often they come.

use super::digest;
use super::users::{Entry, Users, apply};
use crate::id::UserId;
use crate::model::MemberChange;

/// The state of an owner: its life, and the number of changes that it has made in the channel.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd)]
pub struct At {
    /// The life of the owner.
    pub incarnation: u64,
    /// The number of changes; 0 is before all of them.
    pub version: u64,
}

/// The outcome of comparing a digest with a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Check {
    /// The digest tells nothing new.
    Passed,
    /// Changes are missing, and the owner has to be asked.
    Behind,
    /// There are other users for the same number of changes, and the owner has to be asked.
    Diverged,
}

/// The users of one node in one channel, as far as its messages have told.
///
/// ```text
///             snapshot, first change                      snapshot
///  UNKNOWN ---------------------------> KNOWN <----------------------- DOUBTFUL
///     ^                                   |  digest of the same version   ^
///     +-----------------------------------+  with other users; nothing    |
///        another life                     |  for long; forgotten          |
///                                         +-------------------------------+
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Record {
    at: At,
    /// The newest version of this life that was heard of, whether or not its users are known.
    heard: u64,
    content: Content,
    /// True if the owner has spoken about the channel since the last sweep.
    fresh: bool,
    /// True if fewer users or values are kept than the owner has sent, because those were too many.
    is_cut: bool,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
enum Content {
    /// The users at `at` are not known: only that nothing older counts.
    #[default]
    Unknown,
    /// These are all users.
    Known(Users),
    /// These are the last known users; the owner has to be asked again.
    Doubtful(Users),
}

impl Record {
    /// A record without users: only the state of its owner is known.
    pub fn remembered(at: At) -> Record {
        Record { at, heard: at.version, content: Content::Unknown, fresh: false, is_cut: false }
    }

    /// The state of the owner to which the known users belong.
    pub fn at(&self) -> At {
        self.at
    }

    /// The state of the owner to which the known users belong, if they are known for certain.
    pub fn known_at(&self) -> Option<At> {
        matches!(self.content, Content::Known(_)).then_some(self.at)
    }

    /// Returns whether the owner has to be asked, because something was missed.
    pub fn is_behind(&self) -> bool {
        self.heard > self.at.version || matches!(self.content, Content::Doubtful(_))
    }

    /// A user, if it is known.
    pub fn get(&self, user: &UserId) -> Option<&Entry> {
        self.users()?.get(user)
    }

    /// The number of users that are known.
    pub fn len(&self) -> usize {
        self.users().map_or(0, Users::len)
    }

    /// Returns whether no user is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes that less is kept than the owner has just sent: digests of it cannot be compared then.
    pub fn cut(&mut self) {
        self.is_cut = true;
    }

    /// All users that are known.
    pub fn iter(&self) -> impl Iterator<Item = (&UserId, &Entry)> {
        self.users().into_iter().flatten()
    }

    fn users(&self) -> Option<&Users> {
        match &self.content {
            Content::Unknown => None,
            Content::Known(users) | Content::Doubtful(users) => Some(users),
        }
    }

    /// Takes in all users at `at`: one that is not among them is gone. Returns the users that this changes.
    pub fn snapshot(&mut self, at: At, users: Users) -> Vec<UserId> {
        self.fresh |= at >= self.at;
        let wanted = at == self.at && !matches!(self.content, Content::Known(_));
        if at <= self.at && !wanted {
            return Vec::new();
        }
        self.move_to(at);
        let old = self.take();
        let mut changed: Vec<_> = old.keys().filter(|user| !users.contains_key(*user)).cloned().collect();
        changed
            .extend(users.iter().filter(|(user, entry)| old.get(*user) != Some(*entry)).map(|(user, _)| user.clone()));
        self.content = Content::Known(users);
        self.is_cut = false;
        changed
    }

    /// Takes in a change, with the versions of the owner before and after it; 0 before means that the channel was empty.
    /// If changes before it were missed, the record [is behind](Record::is_behind) then, and only another life of the owner
    /// changes it. `joined` is the time of a join. Returns the users that this changes.
    pub fn delta(
        &mut self,
        incarnation: u64,
        (before, after): (u64, u64),
        change: MemberChange,
        joined: u64,
    ) -> Vec<UserId> {
        let at = At { incarnation, version: after };
        if before == 0 {
            let mut users = Users::new();
            apply(&mut users, change, joined);
            return self.snapshot(at, users);
        }
        if at <= self.at {
            return Vec::new();
        }
        let follows = (At { incarnation, version: before }) == self.at;
        match &mut self.content {
            Content::Known(users) | Content::Doubtful(users) if follows => {
                let user = change.user().clone();
                apply(users, change, joined);
                self.fresh = true;
                self.move_to(at);
                vec![user]
            }
            _ => self.hear(at),
        }
    }

    /// Notes that the owner has got as far as `at`. Returns the users of an earlier life, which are gone.
    pub fn hear(&mut self, at: At) -> Vec<UserId> {
        self.fresh |= at >= self.at;
        let ended = self.supersede(at.incarnation);
        if at.incarnation == self.at.incarnation {
            self.heard = self.heard.max(at.version);
        }
        ended
    }

    /// Makes this the life of the owner, if it is later than the known one. Returns the users of the earlier life.
    pub fn supersede(&mut self, incarnation: u64) -> Vec<UserId> {
        if incarnation <= self.at.incarnation {
            return Vec::new();
        }
        self.move_to(At { incarnation, version: 0 });
        self.take().into_keys().collect()
    }

    /// Makes this the life of the owner, also if it is the earlier one. Returns the users of the other life, which are gone.
    pub fn begin(&mut self, incarnation: u64) -> Vec<UserId> {
        if incarnation == self.at.incarnation {
            return Vec::new();
        }
        self.move_to(At { incarnation, version: 0 });
        self.take().into_keys().collect()
    }

    /// Notes that the owner says it has got as far as `at`. If that is not what is known here, the owner has to be asked.
    /// Returns the users of an earlier life, which are gone.
    pub fn expect(&mut self, at: At) -> Vec<UserId> {
        if at < self.at {
            return Vec::new();
        }
        let ended = self.hear(at);
        // With nothing known, having heard of a version would not put it behind.
        if self.known_at() != Some(at)
            && let Content::Unknown = self.content
        {
            self.content = Content::Doubtful(Users::new());
        }
        ended
    }

    /// Compares with the digest of the users that the owner has at `at`.
    pub fn check(&mut self, at: At, hash: u64) -> Check {
        match &self.content {
            Content::Known(users) if at == self.at && !self.is_cut && digest::of_users(users) != hash => {
                self.content = Content::Doubtful(self.take());
                Check::Diverged
            }
            _ => {
                self.expect(at);
                if self.is_behind() { Check::Behind } else { Check::Passed }
            }
        }
    }

    /// Doubts the users, if their owner has said nothing about them since the last call: it would have published a digest,
    /// if it still had any.
    pub fn doubt_if_silent(&mut self) {
        // There may be room by now for users and values that were too many.
        let is_fresh = std::mem::take(&mut self.fresh) && !self.is_cut;
        if let (false, Content::Known(users)) = (is_fresh, &mut self.content)
            && !users.is_empty()
        {
            self.content = Content::Doubtful(std::mem::take(users));
        }
    }

    /// Drops all users, because the owner has been gone for long. Should it come back, it has to be asked for them.
    pub fn expire(&mut self) -> Vec<UserId> {
        let users = self.take();
        self.content = Content::Doubtful(Users::new());
        users.into_keys().collect()
    }

    fn move_to(&mut self, at: At) {
        let same_life = at.incarnation == self.at.incarnation;
        self.heard = if same_life { self.heard.max(at.version) } else { at.version };
        self.at = at;
    }

    fn take(&mut self) -> Users {
        match std::mem::take(&mut self.content) {
            Content::Unknown => Users::new(),
            Content::Known(users) | Content::Doubtful(users) => users,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::users::tests::{entry, object, user, users};
    use super::*;
    use crate::model::Assigns;
    use crate::wire::Json;

    fn at(incarnation: u64, version: u64) -> At {
        At { incarnation, version }
    }

    fn joined(name: &str) -> MemberChange {
        MemberChange::Joined { user: user(name), assigns: Assigns::default() }
    }

    fn left(name: &str) -> MemberChange {
        MemberChange::Left { user: user(name) }
    }

    fn names(record: &Record) -> Vec<&str> {
        record.iter().map(|(user, _)| user.as_str()).collect()
    }

    #[test]
    fn changes_in_order_are_carried_out_and_say_whom_they_change() {
        let mut record = Record::default();
        assert_eq!(record.delta(1, (0, 5), joined("ada"), 1), [user("ada")]);
        assert_eq!(record.delta(1, (5, 6), joined("bob"), 1), [user("bob")]);
        assert_eq!(
            record.delta(1, (6, 7), MemberChange::Presence { user: user("bob"), presence: Some(object("{}")) }, 1),
            [user("bob")]
        );
        let mut assigns = Assigns::default();
        assigns.set("k", Json::from_raw("1").expect("JSON"));
        let set = MemberChange::Assigns { user: user("bob"), assigns: assigns.clone(), key: None };
        assert_eq!(record.delta(1, (7, 8), set.clone(), 1), [user("bob")]);
        assert_eq!(record.delta(1, (8, 9), left("ada"), 1), [user("ada")]);
        let bob = Entry { assigns, presence: Some(object("{}")), joined: 1 };
        assert_eq!(record.iter().collect::<Vec<_>>(), [(&user("bob"), &bob)]);
        assert_eq!((record.at(), record.is_behind()), (at(1, 9), false));
    }

    #[test]
    fn what_is_older_or_equal_changes_nothing() {
        let mut record = Record::default();
        record.snapshot(at(2, 5), users([("ada", entry(1, None))]));
        let before = record.clone();
        assert!(record.delta(2, (4, 5), joined("bob"), 1).is_empty());
        assert!(record.delta(2, (0, 5), joined("bob"), 1).is_empty());
        assert!(record.delta(1, (0, 9), joined("bob"), 1).is_empty());
        assert!(record.snapshot(at(2, 5), users([])).is_empty());
        assert!(record.snapshot(at(1, 9), users([])).is_empty());
        assert!(record.supersede(1).is_empty());
        assert_eq!(record, before);
    }

    #[test]
    fn behind_a_gap_the_owner_is_asked_and_a_snapshot_heals() {
        let mut record = Record::default();
        record.delta(1, (0, 5), joined("ada"), 1);
        assert!(record.delta(1, (6, 7), joined("eve"), 1).is_empty());
        assert!(record.is_behind());
        assert_eq!(names(&record), ["ada"]);
        record.snapshot(at(1, 6), users([("bob", entry(1, None))]));
        assert!(record.is_behind(), "7 was heard of");
        assert_eq!(record.snapshot(at(1, 7), users([("eve", entry(1, None))])), [user("bob"), user("eve")]);
        assert!(!record.is_behind());
    }

    #[test]
    fn the_change_that_was_missed_heals_as_well_as_far_as_it_goes() {
        let mut record = Record::default();
        record.delta(1, (0, 5), joined("ada"), 1);
        record.delta(1, (6, 7), joined("eve"), 1);
        record.delta(1, (5, 6), joined("bob"), 1);
        assert!(record.is_behind());
        record.delta(1, (6, 7), joined("eve"), 1);
        assert!(!record.is_behind());
        assert_eq!(names(&record), ["ada", "bob", "eve"]);
    }

    #[test]
    fn a_change_from_emptiness_replaces_whatever_there_was() {
        let mut record = Record::default();
        record.snapshot(at(1, 5), users([("ada", entry(1, None))]));
        assert_eq!(record.delta(1, (0, 9), joined("bob"), 1), [user("ada"), user("bob")]);
        assert_eq!(names(&record), ["bob"]);
    }

    #[test]
    fn another_life_ends_what_was_before_at_first_sight() {
        let mut record = Record::default();
        record.snapshot(at(1, 5), users([("ada", entry(1, None))]));
        assert_eq!(record.delta(2, (3, 4), joined("bob"), 1), [user("ada")]);
        assert!(record.is_behind() && names(&record).is_empty());
        assert!(record.snapshot(at(1, 6), users([("ada", entry(1, None))])).is_empty());
        assert_eq!(record.snapshot(at(2, 4), users([("bob", entry(1, None))])), [user("bob")]);
    }

    #[test]
    fn what_is_remembered_takes_the_same_again_but_nothing_older() {
        let mut record = Record::remembered(at(1, 5));
        assert!(!record.is_behind());
        assert_eq!(record.known_at(), None);
        assert!(record.snapshot(at(1, 4), users([("eve", entry(1, None))])).is_empty());
        assert_eq!(record.snapshot(at(1, 5), users([("ada", entry(1, None))])), [user("ada")]);
        assert_eq!(record.known_at(), Some(at(1, 5)));
    }

    #[test]
    fn whoever_was_forgotten_is_asked_again() {
        let mut record = Record::default();
        record.snapshot(at(1, 5), users([("ada", entry(1, None))]));
        assert_eq!(record.expire(), [user("ada")]);
        assert!(names(&record).is_empty() && record.is_behind());
        assert!(record.snapshot(at(1, 4), users([("eve", entry(1, None))])).is_empty());
        assert_eq!(record.snapshot(at(1, 5), users([("ada", entry(1, None))])), [user("ada")]);
    }

    #[test]
    fn a_digest_finds_what_was_missed_and_what_is_wrong() {
        let right = users([("ada", entry(1, None))]);
        let hash = digest::of_users(&right);
        let mut record = Record::default();
        assert_eq!(record.check(at(1, 5), hash), Check::Behind);
        assert!(record.is_behind());
        record.snapshot(at(1, 5), right.clone());
        assert_eq!(record.check(at(1, 5), hash), Check::Passed);
        assert_eq!(record.check(at(1, 4), hash + 1), Check::Passed);
        assert_eq!(record.check(at(1, 5), hash + 1), Check::Diverged);
        assert!(record.is_behind());
        assert_eq!(names(&record), ["ada"], "shown until the owner has answered");
        assert_eq!(record.check(at(1, 4), hash + 1), Check::Behind);
        assert_eq!(record.snapshot(at(1, 5), users([])), [user("ada")]);
        assert!(!record.is_behind());
        assert_eq!(record.check(at(1, 6), hash), Check::Behind);
    }

    #[test]
    fn users_of_whom_nothing_is_said_for_long_are_doubted() {
        let mut record = Record::default();
        record.snapshot(at(1, 5), users([("ada", entry(1, None))]));
        record.doubt_if_silent();
        assert!(!record.is_behind(), "it was said since the last time");
        record.expect(at(1, 5));
        record.doubt_if_silent();
        assert!(!record.is_behind());
        record.doubt_if_silent();
        assert!(record.is_behind());
        assert_eq!(names(&record), ["ada"]);
        record.snapshot(at(1, 5), users([]));
        record.doubt_if_silent();
        record.doubt_if_silent();
        assert!(!record.is_behind(), "of nobody, nothing is said");
    }

    #[test]
    fn what_is_only_remembered_is_asked_for_upon_a_digest() {
        let mut record = Record::remembered(at(1, 5));
        assert_eq!(record.check(at(1, 5), 7), Check::Behind);
        assert!(record.is_behind());
        record.snapshot(at(1, 5), users([]));
        assert!(!record.is_behind());
    }
}
