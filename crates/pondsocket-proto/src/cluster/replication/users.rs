use std::collections::BTreeMap;

use crate::cluster::message::UserState;
use crate::id::UserId;
use crate::model::{Assigns, MemberChange};
use crate::wire::Object;

/// A user of one node in one channel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Server-side values.
    pub assigns: Assigns,
    /// The presence, if the user is tracked.
    pub presence: Option<Object>,
    /// The time of the join, in milliseconds since 1970.
    pub joined: u64,
}

/// The users of one node in one channel.
pub type Users = BTreeMap<UserId, Entry>;

/// Applies a change that the users' own node has made; `joined` is the time of a join. A change of an unknown user has
/// no effect.
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

/// The users of a list. An entry whose id is not a valid user id is left out: no user here can have that id.
pub(in crate::cluster) fn from_list(list: Vec<UserState>) -> Users {
    let entry = |state: UserState| {
        let entry = Entry { assigns: state.assigns, presence: state.presence, joined: state.joined };
        Some((UserId::new(&state.id).ok()?, entry))
    };
    list.into_iter().filter_map(entry).collect()
}

/// Lists the users.
pub(super) fn to_list(users: &Users) -> Vec<UserState> {
    let state = |(user, entry): (&UserId, &Entry)| UserState {
        id: user.into(),
        assigns: entry.assigns.clone(),
        presence: entry.presence.clone(),
        joined: entry.joined,
    };
    users.iter().map(state).collect()
}

#[cfg(test)]
pub(in crate::cluster) mod tests {
    use super::*;

    pub(in crate::cluster) fn user(name: &str) -> UserId {
        UserId::new(name).expect("valid")
    }

    pub(in crate::cluster) fn object(text: &str) -> Object {
        Object::encode(&serde_json::from_str::<serde_json::Value>(text).expect("JSON")).expect("an object")
    }

    pub(in crate::cluster) fn entry(joined: u64, presence: Option<&str>) -> Entry {
        Entry { assigns: Assigns::default(), presence: presence.map(object), joined }
    }

    pub(in crate::cluster) fn users<const N: usize>(list: [(&str, Entry); N]) -> Users {
        list.into_iter().map(|(name, entry)| (user(name), entry)).collect()
    }

    #[test]
    fn users_without_a_valid_id_are_left_out() {
        let state = |id: &str| UserState { id: id.into(), assigns: Assigns::default(), presence: None, joined: 1 };
        let list = vec![state("ada"), state(""), state("CHANNEL")];
        assert_eq!(from_list(list), users([("ada", entry(1, None))]));
        assert_eq!(to_list(&users([("ada", entry(1, None))])), [state("ada")]);
    }
}
