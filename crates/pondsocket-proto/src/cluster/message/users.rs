//! Lists of users.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::read::{self, Scalar};
use super::write::{self, ObjectWriter};
use super::{ChannelState, Malformed, Part, UserState};

#[derive(Default, Deserialize)]
#[serde(default)]
struct UserFields<'a> {
    #[serde(borrow)]
    id: Scalar<'a>,
    #[serde(borrow)]
    assigns: Option<&'a RawValue>,
    #[serde(borrow)]
    presence: Option<&'a RawValue>,
    /// The time of the join: an addition of our nodes to the common list.
    #[serde(borrow)]
    j: Scalar<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StateFields<'a> {
    #[serde(borrow)]
    e: Scalar<'a>,
    #[serde(borrow)]
    c: Scalar<'a>,
    #[serde(borrow)]
    ver: Scalar<'a>,
    #[serde(borrow)]
    u: Option<&'a RawValue>,
    #[serde(borrow)]
    part: Option<&'a RawValue>,
}

/// Reads the list of the common protocol, in which a user without presence has an empty one.
pub(super) fn read_response(text: Option<&str>) -> Result<Vec<UserState>, Malformed> {
    let mut users = read(text, "users")?;
    for user in &mut users {
        user.presence.take_if(|presence| presence.is_empty());
    }
    Ok(users)
}

/// Reads a list. A user that cannot be read is left out, so that one broken entry does not hide all others.
fn read(text: Option<&str>, name: &'static str) -> Result<Vec<UserState>, Malformed> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let users: Vec<&RawValue> = read::shaped(text, name)?;
    Ok(users.into_iter().filter_map(|user| read_user(user.get(), name).ok()).collect())
}

fn read_user(text: &str, name: &'static str) -> Result<UserState, Malformed> {
    let user: UserFields<'_> = read::object_of(text, name)?;
    Ok(UserState {
        id: user.id.user(name)?,
        assigns: user.assigns.map(|raw| read::assigns(raw.get(), name)).transpose()?.unwrap_or_default(),
        presence: user.presence.map(|raw| read::object(raw.get(), name)).transpose()?,
        // Foreign nodes do not send it: 0 counts as the oldest join.
        joined: user.j.integer(name).unwrap_or(0),
    })
}

/// Reads the users that one of our nodes has in a channel.
pub(super) fn read_state(text: &str, name: &'static str) -> Result<ChannelState, Malformed> {
    let state: StateFields<'_> = read::object_of(text, name)?;
    Ok(ChannelState {
        channel: read::channel(&state.e, &state.c, name, name)?,
        version: state.ver.integer(name)?,
        users: read(state.u.map(RawValue::get), name)?,
        part: state.part.map(|raw| read_part(raw.get(), name)).transpose()?,
    })
}

fn read_part(text: &str, name: &'static str) -> Result<Part, Malformed> {
    let (index, of): (Scalar<'_>, Scalar<'_>) = read::shaped(text, name)?;
    let part = Part { index: index.integer(name)?, of: of.integer(name)? };
    // A part beyond the list would never make it complete, and `of` is at least 1 then.
    if part.index < part.of { Ok(part) } else { Err(read::kind(name)) }
}

/// Writes the list of the common protocol, in which a user without presence has an empty one: some nodes require the
/// field.
pub(super) fn write(out: &mut Vec<u8>, users: &[UserState]) {
    write::list(out, users, |out, user| {
        write_user(out, user, Some(user.presence.as_ref().map_or("{}", |presence| presence.as_str())));
    });
}

/// Writes the list of our own nodes, in which a user without presence has none: among them `{}` is a presence like any
/// other.
pub(super) fn write_state(out: &mut Vec<u8>, state: &ChannelState) {
    ObjectWriter::object(out, |fields| {
        fields.text("e", &state.channel.endpoint);
        fields.text("c", state.channel.channel.as_str());
        fields.number("ver", state.version);
        if let Some(Part { index, of }) = state.part {
            fields.field("part", |out| write::list(out, [index, of], write::integer));
        }
        fields.field("u", |out| {
            write::list(out, &state.users, |out, user| {
                write_user(out, user, user.presence.as_ref().map(|presence| presence.as_str()));
            });
        });
    });
}

fn write_user(out: &mut Vec<u8>, user: &UserState, presence: Option<&str>) {
    ObjectWriter::object(out, |fields| {
        fields.text("id", &user.id);
        fields.json("assigns", &user.assigns.to_json());
        if let Some(presence) = presence {
            fields.json("presence", presence);
        }
        // 0 is the value of a reader that does not find the field.
        if user.joined > 0 {
            fields.number("j", user.joined);
        }
    });
}
