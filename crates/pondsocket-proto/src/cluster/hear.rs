//! What was heard, as something to act upon: ids are checked here, and whatever is none is left out.

use super::message::{Body, UserState};
use super::record::{Change, Entry, Users};
use crate::id::UserId;

/// What an owner says to have changed of its users, if it is that.
pub(super) fn change(body: &Body, joined: Option<u64>) -> Option<Change> {
    match body {
        Body::UserJoined { user, assigns, .. } => {
            let entry = Entry { assigns: assigns.clone(), presence: None, joined: joined.unwrap_or(0) };
            Some(Change::Joined(user_id(user)?, entry))
        }
        Body::UserLeft { user } => Some(Change::Left(user_id(user)?)),
        Body::PresenceUpdate { user, presence, .. } => Some(Change::Presence(user_id(user)?, Some(presence.clone()))),
        Body::PresenceRemoved { user } => Some(Change::Presence(user_id(user)?, None)),
        Body::AssignsUpdate { user, assigns: Some(assigns), .. } => {
            Some(Change::Assigns(user_id(user)?, assigns.clone()))
        }
        _ => None,
    }
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
    use crate::channel::Assigns;

    #[test]
    fn who_has_no_proper_name_is_left_out() {
        let state = |id: &str| UserState { id: id.into(), assigns: Assigns::default(), presence: None, joined: 1 };
        assert_eq!(users(vec![state("ada"), state(""), state("CHANNEL")]), of([("ada", entry(1, None))]));
        assert_eq!(change(&Body::UserLeft { user: "".into() }, None), None);
        assert_eq!(change(&Body::UserLeft { user: "ada".into() }, None), Some(Change::Left(user("ada"))));
    }

    #[test]
    fn assigns_that_are_not_all_of_them_are_no_change_of_an_owner() {
        assert_eq!(change(&Body::AssignsUpdate { user: "ada".into(), assigns: None, delta: None }, None), None);
    }
}
