//! Lists of users that are too large for one message. They are sent in chunks. A list is applied when all its chunks
//! have arrived, because users that are not in it count as gone.

use std::collections::BTreeMap;

use super::record::At;
use super::users::Users;
use crate::cluster::message::{ChannelState, Part, UserState};

/// The approximate size of a list on the wire without its users, in bytes.
const FRAME: usize = 64;

/// Splits a list into chunks of about `most` bytes. A single user is never split, so a chunk with one user may be
/// larger.
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

/// Splits users into groups of about `most` bytes on the wire.
pub(in crate::cluster) fn groups(users: Vec<UserState>, most: usize) -> Vec<Vec<UserState>> {
    let (mut groups, mut size) = (Vec::<Vec<_>>::new(), 0);
    for user in users {
        let more = size_of_user(&user);
        // A user that does not fit begins a group, so a user over the limit is alone in its group.
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

/// The approximate size of a list on the wire, in bytes.
pub(super) fn size_of(state: &ChannelState) -> usize {
    let names = state.channel.endpoint.len() + state.channel.channel.as_str().len();
    FRAME + names + state.users.iter().map(size_of_user).sum::<usize>()
}

fn size_of_user(user: &UserState) -> usize {
    // An estimate: 4 for quotes, colon and comma of an entry, 64 for the fixed fields of a user. The limit is far below
    // that of a bus, so escapes do not matter.
    let presence = user.presence.as_ref().map_or(0, |presence| presence.as_str().len());
    let assigns = user.assigns.iter().map(|(key, value)| key.len() + value.len() + 4).sum::<usize>();
    user.id.len() + presence + assigns + 64
}

/// The received chunks of one list.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    at: At,
    of: u64,
    /// By index, so that a chunk that arrives twice counts once.
    come: BTreeMap<u64, Users>,
    /// True if users were left out because there were too many.
    pub(super) is_cut: bool,
}

impl Chunks {
    /// Adds one chunk, and returns the whole list when none is missing any more. A newer list replaces an older one.
    /// Not many more than `most` users of all chunks together are kept.
    pub(super) fn add(&mut self, at: At, part: Part, users: Users, most: usize) -> Option<Users> {
        if at < self.at {
            return None;
        }
        // Chunks of two versions, or of two splits of one version, do not make up one list.
        if (at, part.of) != (self.at, self.of) {
            *self = Chunks { at, of: part.of, come: BTreeMap::new(), is_cut: false };
        }
        let has_room = self.come.values().map(Users::len).sum::<usize>() < most && self.come.len() < most.max(1);
        // A chunk over the limit counts as received, without its users: otherwise the list would never be complete, and
        // its owner would be queried again and again.
        self.is_cut |= !has_room;
        if has_room {
            self.come.insert(part.index, users);
        } else if self.come.len() <= 2 * most {
            // Bounded as well: a forged `of` announces any number of chunks.
            self.come.insert(part.index, Users::new());
        }
        let is_whole = self.come.len() as u64 == self.of;
        is_whole.then(|| std::mem::take(&mut self.come).into_values().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::users::tests::{entry, object, users};
    use super::*;
    use crate::cluster::ChannelKey;
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
    fn a_list_that_is_too_large_is_split_between_users() {
        let chunks = split(state(&[300, 300, 300, 2000, 10]), 800);
        let sent: Vec<_> =
            chunks.iter().map(|state| (ids(state), state.part.map(|part| (part.index, part.of)))).collect();
        let part = |users: &str, index| (users.to_owned(), Some((index, 4)));
        assert_eq!(sent, [part("01", 0), part("2", 1), part("3", 2), part("4", 3)]);
        assert!(chunks.iter().all(|state| state.version == 7));
        assert_eq!(split(state(&[300, 300]), 1000), [state(&[300, 300])]);
        for small in [&[][..], &[300]] {
            assert_eq!(split(state(small), 0), [state(small)], "there is nothing to split");
        }
    }

    #[test]
    fn a_list_is_complete_when_all_its_chunks_have_arrived_in_any_order() {
        let (at, mut chunks) = (At { incarnation: 1, version: 7 }, Chunks::default());
        let (ada, bob) = (users([("ada", entry(1, None))]), users([("bob", entry(1, None))]));
        assert_eq!(chunks.add(at, Part { index: 1, of: 2 }, bob.clone(), 9), None);
        assert_eq!(chunks.add(at, Part { index: 1, of: 2 }, bob, 9), None, "the same again");
        let whole = users([("ada", entry(1, None)), ("bob", entry(1, None))]);
        assert_eq!(chunks.add(at, Part { index: 0, of: 2 }, ada, 9), Some(whole));
    }

    #[test]
    fn chunks_of_two_lists_do_not_make_up_one() {
        let at = |version| At { incarnation: 1, version };
        let (mut chunks, ada) = (Chunks::default(), users([("ada", entry(1, None))]));
        assert_eq!(chunks.add(at(7), Part { index: 0, of: 2 }, ada.clone(), 9), None);
        assert_eq!(chunks.add(at(8), Part { index: 1, of: 2 }, ada.clone(), 9), None);
        assert_eq!(chunks.add(at(7), Part { index: 1, of: 2 }, ada.clone(), 9), None, "it is older");
        assert_eq!(chunks.add(at(8), Part { index: 1, of: 3 }, ada.clone(), 9), None, "it is split otherwise");
        assert_eq!(chunks.add(at(9), Part { index: 0, of: 1 }, ada.clone(), 9), Some(ada));
    }
}
