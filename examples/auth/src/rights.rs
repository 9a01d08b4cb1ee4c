//! The rights of each role in each room: one table for all decisions.

use serde::Serialize;

use crate::accounts::Role;

/// The right of a user in a room. Writing includes reading.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Right {
    None,
    Read,
    Write,
}

/// The rooms there are.
pub(crate) const ROOMS: [&str; 3] = ["lobby", "team", "board"];

/// The right of a role in a room; `None` if there is no such room.
pub(crate) fn right(role: Role, room: &str) -> Option<Right> {
    let [admin, member, guest] = match room {
        "lobby" => [Right::Write, Right::Write, Right::Write],
        "team" => [Right::Write, Right::Write, Right::Read],
        "board" => [Right::Write, Right::None, Right::None],
        _ => return None,
    };
    Some(match role {
        Role::Admin => admin,
        Role::Member => member,
        Role::Guest => guest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_room_has_rights_for_every_role() {
        for room in ROOMS {
            assert_eq!(right(Role::Admin, room), Some(Right::Write), "{room}");
            assert!(right(Role::Member, room) >= right(Role::Guest, room), "{room}");
        }
        assert_eq!(right(Role::Admin, "attic"), None);
    }
}
