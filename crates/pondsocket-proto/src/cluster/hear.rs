//! What was heard, as something to act upon: ids are checked here, and whatever is none is left out.

use super::message::{Body, UserState};
use super::record::{Entry, Users};
use crate::id::UserId;
use crate::model::MemberChange;

/// The change that an owner made of one of its users, if the body is one.
pub(super) fn change(body: &Body) -> Option<MemberChange> {
    Some(match body {
        Body::UserJoined { user, assigns, .. } => {
            MemberChange::Joined { user: user_id(user)?, assigns: assigns.clone() }
        }
        Body::UserLeft { user } => MemberChange::Left { user: user_id(user)? },
        Body::PresenceUpdate { user, presence, .. } => {
            MemberChange::Presence { user: user_id(user)?, presence: Some(presence.clone()) }
        }
        Body::PresenceRemoved { user } => MemberChange::Presence { user: user_id(user)?, presence: None },
        Body::AssignsUpdate { user, assigns: Some(assigns), .. } => {
            MemberChange::Assigns { user: user_id(user)?, assigns: assigns.clone(), key: None }
        }
        _ => return None,
    })
}

/// All users of an owner.
pub(super) fn users(list: Vec<UserState>) -> Users {
    let entry = |state: UserState| {
        let entry = Entry { assigns: state.assigns, presence: state.presence, joined: state.joined };
        Some((user_id(&state.id)?, entry))
    };
    list.into_iter().filter_map(entry).collect()
}

pub(super) fn user_id(text: &str) -> Option<UserId> {
    UserId::new(text).ok()
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::{entry, user, users as of};
    use super::*;
    use crate::model::Assigns;

    #[test]
    fn who_has_no_proper_name_is_left_out() {
        let state = |id: &str| UserState { id: id.into(), assigns: Assigns::default(), presence: None, joined: 1 };
        assert_eq!(users(vec![state("ada"), state(""), state("CHANNEL")]), of([("ada", entry(1, None))]));
        assert_eq!(change(&Body::UserLeft { user: "".into() }), None);
        assert_eq!(change(&Body::UserLeft { user: "ada".into() }), Some(MemberChange::Left { user: user("ada") }));
    }

    #[test]
    fn assigns_that_are_not_all_of_them_are_no_change_of_an_owner() {
        assert_eq!(change(&Body::AssignsUpdate { user: "ada".into(), assigns: None, delta: None }), None);
    }
}
