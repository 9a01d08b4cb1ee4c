use std::sync::Arc;

use super::users::{self, Users};
use crate::cluster::message::{Body, PresenceEvent, UserState};
use crate::id::UserId;
use crate::model::{Assigns, MemberChange};
use crate::wire::Object;

/// The users of this node in one channel, and the number of their changes. Other nodes only request changes of them.
///
/// Each change is one message and one version. The first change of an empty channel has 0 as the version before it, so
/// that receivers can apply it without the earlier messages.
#[derive(Debug)]
pub(in crate::cluster) struct LocalState {
    version: u64,
    users: Users,
}

/// A change, as it is published to other nodes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::cluster) struct Delta {
    pub(in crate::cluster) body: Body,
    /// The versions before and after it.
    pub(in crate::cluster) versions: (u64, u64),
    /// The time of a join.
    pub(in crate::cluster) joined: Option<u64>,
}

impl LocalState {
    /// Creates an empty channel. `version` is not below any version of the channel that was published before.
    pub(in crate::cluster) fn new(version: u64) -> LocalState {
        LocalState { version, users: Users::new() }
    }

    pub(in crate::cluster) fn version(&self) -> u64 {
        self.version
    }

    pub(in crate::cluster) fn users(&self) -> &Users {
        &self.users
    }

    /// All users, for a list in a message.
    pub(in crate::cluster) fn list(&self) -> Vec<UserState> {
        users::to_list(&self.users)
    }

    /// Applies a change. Returns the messages about it, in order.
    pub(in crate::cluster) fn change(&mut self, change: MemberChange, now: u64) -> Vec<Delta> {
        match change {
            MemberChange::Joined { user, assigns } => vec![self.join(user, assigns, now)],
            MemberChange::Left { user } => self.leave(&user),
            MemberChange::Presence { user, presence } => self.show(user, presence).into_iter().collect(),
            MemberChange::Assigns { user, assigns, key } => self.assign(user, assigns, key).into_iter().collect(),
        }
    }

    /// Removes all users but those that `stays` is true for. Returns the messages about it, in order.
    pub(in crate::cluster) fn leave_all(&mut self, stays: impl Fn(&UserId) -> bool) -> Vec<Delta> {
        let users: Vec<_> = self.users.keys().filter(|user| !stays(user)).cloned().collect();
        users.iter().flat_map(|user| self.leave(user)).collect()
    }

    fn join(&mut self, user: UserId, assigns: Assigns, now: u64) -> Delta {
        // A required field of the common protocol. The presence itself follows in a message of its own.
        let presence = Some(Object::encode(&()).expect("the unit value is encoded as `{}`"));
        let body = Body::UserJoined { user: (&user).into(), presence, assigns: assigns.clone() };
        self.apply(MemberChange::Joined { user, assigns }, Some(now), body)
    }

    /// Hides the user, and then removes it: some foreign nodes do not hide a user that leaves.
    fn leave(&mut self, user: &UserId) -> Vec<Delta> {
        let mut deltas: Vec<_> = self.show(user.clone(), None).into_iter().collect();
        if self.users.contains_key(user) {
            deltas.push(self.apply(
                MemberChange::Left { user: user.clone() },
                None,
                Body::UserLeft { user: user.into() },
            ));
        }
        deltas
    }

    fn show(&mut self, user: UserId, presence: Option<Object>) -> Option<Delta> {
        let before = self.users.get(&user)?.presence.as_ref();
        let name: Arc<str> = (&user).into();
        let body = match &presence {
            None if before.is_none() => return None,
            None => Body::PresenceRemoved { user: name },
            Some(presence) => {
                let event = before.map_or(PresenceEvent::Join, |_| PresenceEvent::Update);
                Body::PresenceUpdate { user: name, presence: presence.clone(), event: Some(event) }
            }
        };
        Some(self.apply(MemberChange::Presence { user, presence }, None, body))
    }

    fn assign(&mut self, user: UserId, assigns: Assigns, key: Option<String>) -> Option<Delta> {
        self.users.get(&user)?;
        let delta = key.as_ref().and_then(|key| assigns.get(key).map(|value| (key.clone(), value)));
        let body = Body::AssignsUpdate { user: (&user).into(), assigns: Some(assigns.clone()), delta };
        Some(self.apply(MemberChange::Assigns { user, assigns, key }, None, body))
    }

    fn apply(&mut self, change: MemberChange, joined: Option<u64>, body: Body) -> Delta {
        let before = if self.users.is_empty() { 0 } else { self.version };
        self.version += 1;
        users::apply(&mut self.users, change, joined.unwrap_or(0));
        Delta { body, versions: (before, self.version), joined }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{At, Record};
    use super::super::users::tests::{object, user};
    use super::*;
    use crate::wire::Json;

    fn join(name: &str) -> MemberChange {
        MemberChange::Joined { user: user(name), assigns: Assigns::default() }
    }

    fn show(name: &str, presence: Option<&str>) -> MemberChange {
        MemberChange::Presence { user: user(name), presence: presence.map(object) }
    }

    fn left(name: &str) -> MemberChange {
        MemberChange::Left { user: user(name) }
    }

    #[test]
    fn each_change_is_one_message_and_counts_one() {
        let mut own = LocalState::new(10);
        let deltas = own.change(join("ada"), 7);
        let assigns = Assigns::default();
        let body = Body::UserJoined { user: "ada".into(), presence: Some(object("{}")), assigns };
        assert_eq!(deltas, [Delta { body, versions: (0, 11), joined: Some(7) }]);
        let deltas = own.change(show("ada", Some(r#"{"a":1}"#)), 8);
        let shown = |presence, event| Body::PresenceUpdate { user: "ada".into(), presence: object(presence), event };
        let body = shown(r#"{"a":1}"#, Some(PresenceEvent::Join));
        assert_eq!(deltas, [Delta { body, versions: (11, 12), joined: None }]);
        let deltas = own.change(show("ada", Some(r#"{"a":2}"#)), 8);
        let body = shown(r#"{"a":2}"#, Some(PresenceEvent::Update));
        assert_eq!(deltas, [Delta { body, versions: (12, 13), joined: None }]);
        let mut assigns = Assigns::default();
        assigns.set("k", &Json::from_raw("1").expect("JSON"));
        let change = MemberChange::Assigns { user: user("ada"), assigns: assigns.clone(), key: Some("k".into()) };
        let delta = Some(("k".into(), Json::from_raw("1").expect("JSON")));
        let body = Body::AssignsUpdate { user: "ada".into(), assigns: Some(assigns), delta };
        assert_eq!(own.change(change, 9), [Delta { body, versions: (13, 14), joined: None }]);
        let deltas = own.change(left("ada"), 10);
        let bodies = [Body::PresenceRemoved { user: "ada".into() }, Body::UserLeft { user: "ada".into() }].into_iter();
        let spans = [(14, 15), (15, 16)];
        let expected: Vec<_> =
            bodies.zip(spans).map(|(body, versions)| Delta { body, versions, joined: None }).collect();
        assert_eq!(deltas, expected);
        assert_eq!((own.version(), own.users().len()), (16, 0));
    }

    #[test]
    fn the_version_continues_after_an_empty_channel_and_the_change_starts_from_0() {
        let mut own = LocalState::new(0);
        own.change(join("ada"), 1);
        own.change(left("ada"), 2);
        assert_eq!(own.change(join("bob"), 3)[0].versions, (0, 3));
    }

    #[test]
    fn a_change_without_effect_is_not_published() {
        let mut own = LocalState::new(0);
        assert!(own.change(left("ada"), 1).is_empty());
        assert!(own.change(show("ada", Some("{}")), 1).is_empty());
        own.change(join("ada"), 1);
        assert!(own.change(show("ada", None), 1).is_empty());
        assert_eq!(own.version(), 1);
    }

    #[test]
    fn a_record_with_all_changes_has_the_same_users() {
        let mut own = LocalState::new(3);
        let mut record = Record::default();
        let assigns = MemberChange::Assigns { user: user("bob"), assigns: Assigns::default(), key: None };
        for change in [join("ada"), join("bob"), show("ada", Some("{}")), assigns, left("ada")] {
            for delta in own.change(change, 5) {
                let change = delta.body.member_change().expect("a change");
                record.delta(1, delta.versions, change, delta.joined.unwrap_or(0));
            }
        }
        assert_eq!(record.at(), At { incarnation: 1, version: own.version() });
        assert!(record.iter().eq(own.users()));
        assert_eq!(own.leave_all(|_| false).len(), 1);
    }
}
