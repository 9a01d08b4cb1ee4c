//! What one node of ours has said about its users in one channel, and how what is heard merges with it
//! (docs/cluster.md, State that converges).
//!
//! Only the owner changes its users, and it counts the changes. So what is newer is a matter of comparing two numbers,
//! and merging is taking the larger: in whatever order, and however often, the same things are heard, the record ends
//! the same.

use std::collections::BTreeMap;

use crate::id::UserId;
use crate::model::{Assigns, MemberChange};
use crate::wire::Object;

/// A user of one node in one channel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Server-side values.
    pub assigns: Assigns,
    /// What it shows of itself, if it is tracked.
    pub presence: Option<Object>,
    /// When it joined, in milliseconds since 1970.
    pub joined: u64,
}

/// The users of one node in one channel.
pub type Users = BTreeMap<UserId, Entry>;

/// How far a node had got: in which life, and after how many changes of the channel.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd)]
pub struct At {
    /// Which life.
    pub incarnation: u64,
    /// How many changes; 0 is before all of them.
    pub version: u64,
}

/// Carries out a change that its owner made; `joined` is the time of a join. A change of a user that is not there does
/// nothing.
pub(super) fn apply(users: &mut Users, change: MemberChange, joined: u64) {
    match change {
        MemberChange::Joined { user, assigns } => drop(users.insert(user, Entry { assigns, presence: None, joined })),
        MemberChange::Left { user } => drop(users.remove(&user)),
        MemberChange::Presence { user, presence } => {
            if let Some(entry) = users.get_mut(&user) {
                entry.presence = presence;
            }
        }
        MemberChange::Assigns { user, assigns, .. } => {
            if let Some(entry) = users.get_mut(&user) {
                entry.assigns = assigns;
            }
        }
    }
}

/// How a digest compares with a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Check {
    /// It tells nothing that is not known.
    Passed,
    /// Changes are missing, and the owner has to be asked.
    Behind,
    /// There are other users for the same number of changes, and the owner has to be asked.
    Diverged,
}

/// What one node has said about its users in one channel.
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
    /// The newest version of this life that was heard of, with or without what it consists of.
    heard: u64,
    content: Content,
    /// Whether the owner has said anything of it lately.
    fresh: bool,
    /// True if less is known here than the owner has said, because that was too much.
    is_cut: bool,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
enum Content {
    /// It is not known who is there at `at`: only that nothing older counts.
    #[default]
    Unknown,
    /// These are.
    Known(Users),
    /// These, it was thought; the owner says otherwise.
    Doubtful(Users),
}

impl Record {
    /// A record of which only is known how far its owner had got.
    pub fn remembered(at: At) -> Record {
        Record { at, heard: at.version, content: Content::Unknown, fresh: false, is_cut: false }
    }

    /// How far the owner had got when what is known here was true.
    pub fn at(&self) -> At {
        self.at
    }

    /// How far the owner had got when what is known here was true, if anything is known.
    pub fn known_at(&self) -> Option<At> {
        matches!(self.content, Content::Known(_)).then_some(self.at)
    }

    /// Whether the owner has to be asked, because something was missed.
    pub fn is_behind(&self) -> bool {
        self.heard > self.at.version || matches!(self.content, Content::Doubtful(_))
    }

    /// A user, as far as is known.
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

    /// Less is known here than the owner has just said: what it says that its users come to cannot be compared.
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

    /// These are all users at that time: who is not among them is gone. Answers with those that it changes.
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

    /// This change brought the owner from the one version to the other. 0 means that nobody was there before. If
    /// changes before it were missed, the record [is behind](Record::is_behind) then, and not changed but for what
    /// another life of the owner ends. Answers with those users that it changes.
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

    /// The owner has got that far, in whatever way. Answers with the users of an earlier life, which are gone.
    pub fn hear(&mut self, at: At) -> Vec<UserId> {
        self.fresh |= at >= self.at;
        let ended = self.supersede(at.incarnation);
        if at.incarnation == self.at.incarnation {
            self.heard = self.heard.max(at.version);
        }
        ended
    }

    /// The owner lives this life: what is known of an earlier one is not true any more. Answers with its users.
    pub fn supersede(&mut self, incarnation: u64) -> Vec<UserId> {
        if incarnation <= self.at.incarnation {
            return Vec::new();
        }
        self.move_to(At { incarnation, version: 0 });
        self.take().into_keys().collect()
    }

    /// The owner lives this life, whatever was known of others. Answers with the users of another life, which are gone.
    pub fn begin(&mut self, incarnation: u64) -> Vec<UserId> {
        if incarnation == self.at.incarnation {
            return Vec::new();
        }
        self.move_to(At { incarnation, version: 0 });
        self.take().into_keys().collect()
    }

    /// The owner says that this is how far it has got. If that is not what is known here, it has to be asked. Answers with
    /// the users of an earlier life, which are gone.
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

    /// The owner says what its users come to at that time.
    pub fn check(&mut self, at: At, hash: u64) -> Check {
        match &self.content {
            Content::Known(users) if at == self.at && !self.is_cut && super::digest::of_users(users) != hash => {
                self.content = Content::Doubtful(self.take());
                Check::Diverged
            }
            _ => {
                self.expect(at);
                if self.is_behind() { Check::Behind } else { Check::Passed }
            }
        }
    }

    /// Once in a while: doubts the users of an owner that has said nothing of them since the last time. It would have
    /// said a digest, if it still had any.
    pub fn age(&mut self) {
        // There may be room by now for what was too much.
        let is_fresh = std::mem::take(&mut self.fresh) && !self.is_cut;
        if let (false, Content::Known(users)) = (is_fresh, &mut self.content)
            && !users.is_empty()
        {
            self.content = Content::Doubtful(std::mem::take(users));
        }
    }

    /// Drops all users, because the owner has been gone for long. Should it come back it has to be asked for them.
    pub fn forget(&mut self) -> Vec<UserId> {
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
pub(super) mod tests {
    use super::*;
    use crate::wire::Json;

    pub(in super::super) fn user(name: &str) -> UserId {
        UserId::new(name).expect("valid")
    }

    pub(in super::super) fn object(text: &str) -> Object {
        Object::encode(&serde_json::from_str::<serde_json::Value>(text).expect("JSON")).expect("an object")
    }

    pub(in super::super) fn entry(joined: u64, presence: Option<&str>) -> Entry {
        Entry { assigns: Assigns::default(), presence: presence.map(object), joined }
    }

    pub(in super::super) fn users<const N: usize>(list: [(&str, Entry); N]) -> Users {
        list.into_iter().map(|(name, entry)| (user(name), entry)).collect()
    }

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
        assert_eq!(record.forget(), [user("ada")]);
        assert!(names(&record).is_empty() && record.is_behind());
        assert!(record.snapshot(at(1, 4), users([("eve", entry(1, None))])).is_empty());
        assert_eq!(record.snapshot(at(1, 5), users([("ada", entry(1, None))])), [user("ada")]);
    }

    #[test]
    fn a_digest_finds_what_was_missed_and_what_is_wrong() {
        let right = users([("ada", entry(1, None))]);
        let hash = super::super::digest::of_users(&right);
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
        record.age();
        assert!(!record.is_behind(), "it was said since the last time");
        record.expect(at(1, 5));
        record.age();
        assert!(!record.is_behind());
        record.age();
        assert!(record.is_behind());
        assert_eq!(names(&record), ["ada"]);
        record.snapshot(at(1, 5), users([]));
        record.age();
        record.age();
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
