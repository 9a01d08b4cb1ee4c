//! Lists of users that are too large for one message. They are told in parts, of which none counts before all are there.

use std::collections::BTreeMap;

use super::message::{ChannelState, Part, UserState};
use super::record::{At, Users};

/// About how many bytes a list has on the wire, without its users.
const FRAME: usize = 64;

/// Parts a list so that none has many more bytes than that. A single user is never parted.
pub(super) fn split(state: ChannelState, most: usize) -> Vec<ChannelState> {
    if state.users.len() < 2 || size_of(&state) <= most {
        return vec![state];
    }
    let ChannelState { channel, version, users, .. } = state;
    let groups = groups(users, most);
    let of = groups.len() as u64;
    let part = |(index, users)| {
        let part = Some(Part { index: index as u64, of });
        ChannelState { channel: channel.clone(), version, users, part }
    };
    groups.into_iter().enumerate().map(part).collect()
}

/// Users in groups of about so many bytes on the wire, at the most.
pub(super) fn groups(users: Vec<UserState>, most: usize) -> Vec<Vec<UserState>> {
    let (mut groups, mut size) = (Vec::<Vec<_>>::new(), 0);
    for user in users {
        let more = size_of_user(&user);
        match groups.last_mut().filter(|_| size + more <= most) {
            Some(group) => group.push(user),
            None => {
                groups.push(vec![user]);
                size = 0;
            }
        }
        size += more;
    }
    groups
}

/// About how many bytes it has on the wire.
pub(super) fn size_of(state: &ChannelState) -> usize {
    let names = state.channel.endpoint.len() + state.channel.channel.as_str().len();
    FRAME + names + state.users.iter().map(size_of_user).sum::<usize>()
}

fn size_of_user(user: &UserState) -> usize {
    let presence = user.presence.as_ref().map_or(0, |presence| presence.as_str().len());
    let assigns = user.assigns.iter().map(|(key, value)| key.len() + value.as_str().len() + 4).sum::<usize>();
    user.id.len() + presence + assigns + 64
}

/// The parts of one list that have come.
#[derive(Debug, Default)]
pub(super) struct Parts {
    at: At,
    of: u64,
    come: BTreeMap<u64, Users>,
    /// True if something of it was too much.
    pub(super) is_cut: bool,
}

impl Parts {
    /// One more has come. Answers with the whole list, if it is the last one that was missing. A newer list takes the
    /// place of an older one. Of all parts together not many more than `most` users are kept, and no more parts are taken.
    pub(super) fn add(&mut self, at: At, part: Part, users: Users, most: usize) -> Option<Users> {
        if at < self.at {
            return None;
        }
        if (at, part.of) != (self.at, self.of) {
            *self = Parts { at, of: part.of, come: BTreeMap::new(), is_cut: false };
        }
        let has_room = self.come.values().map(Users::len).sum::<usize>() < most && self.come.len() < most.max(1);
        // What is over the limit counts as said, so that the list is whole some time.
        self.is_cut |= !has_room;
        if has_room {
            self.come.insert(part.index, users);
        } else if self.come.len() <= 2 * most {
            self.come.insert(part.index, Users::new());
        }
        let is_whole = self.come.len() as u64 == self.of;
        is_whole.then(|| std::mem::take(&mut self.come).into_values().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::ChannelKey;
    use super::super::record::tests::{entry, object, users};
    use super::*;
    use crate::id::ChannelName;
    use crate::model::Assigns;

    fn state(sizes: &[usize]) -> ChannelState {
        let user = |(number, size): (usize, &usize)| UserState {
            id: number.to_string().into(),
            assigns: Assigns::default(),
            presence: Some(object(&format!(r#"{{"x":"{}"}}"#, "x".repeat(*size)))),
            joined: 1,
        };
        let channel = ChannelKey { endpoint: "e".into(), channel: ChannelName::new("/c", 9).expect("valid") };
        ChannelState { channel, version: 7, users: sizes.iter().enumerate().map(user).collect(), part: None }
    }

    fn ids(state: &ChannelState) -> String {
        state.users.iter().map(|user| &*user.id).collect()
    }

    #[test]
    fn a_list_that_is_too_large_is_parted_between_users() {
        let parts = split(state(&[300, 300, 300, 2000, 10]), 800);
        let told: Vec<_> =
            parts.iter().map(|state| (ids(state), state.part.map(|part| (part.index, part.of)))).collect();
        let part = |users: &str, index| (users.to_owned(), Some((index, 4)));
        assert_eq!(told, [part("01", 0), part("2", 1), part("3", 2), part("4", 3)]);
        assert!(parts.iter().all(|state| state.version == 7));
        assert_eq!(split(state(&[300, 300]), 1000), [state(&[300, 300])]);
        for small in [&[][..], &[300]] {
            assert_eq!(split(state(small), 0), [state(small)], "there is nothing to part");
        }
    }

    #[test]
    fn a_list_is_there_when_all_its_parts_are_in_whatever_order() {
        let (at, mut parts) = (At { incarnation: 1, version: 7 }, Parts::default());
        let (ada, bob) = (users([("ada", entry(1, None))]), users([("bob", entry(1, None))]));
        assert_eq!(parts.add(at, Part { index: 1, of: 2 }, bob.clone(), 9), None);
        assert_eq!(parts.add(at, Part { index: 1, of: 2 }, bob, 9), None, "the same again");
        let whole = users([("ada", entry(1, None)), ("bob", entry(1, None))]);
        assert_eq!(parts.add(at, Part { index: 0, of: 2 }, ada, 9), Some(whole));
    }

    #[test]
    fn parts_of_two_lists_are_no_list() {
        let at = |version| At { incarnation: 1, version };
        let (mut parts, ada) = (Parts::default(), users([("ada", entry(1, None))]));
        assert_eq!(parts.add(at(7), Part { index: 0, of: 2 }, ada.clone(), 9), None);
        assert_eq!(parts.add(at(8), Part { index: 1, of: 2 }, ada.clone(), 9), None);
        assert_eq!(parts.add(at(7), Part { index: 1, of: 2 }, ada.clone(), 9), None, "it is older");
        assert_eq!(parts.add(at(8), Part { index: 1, of: 3 }, ada.clone(), 9), None, "it is parted otherwise");
        assert_eq!(parts.add(at(9), Part { index: 0, of: 1 }, ada.clone(), 9), Some(ada));
    }
}
