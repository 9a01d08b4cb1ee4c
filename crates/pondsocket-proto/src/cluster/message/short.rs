//! The short form of messages for users (docs/cluster.md, Short form).
//!
//! It has only the fields that do not follow from the topic or from other fields. Other implementations drop it, because it
//! names no protocol.

use super::UserMessage;
use super::write::integer;
use crate::cluster::ChannelKey;
use crate::model::Target;
use crate::wire::scan::plain;
use crate::wire::write::put;

/// The bytes with which every message begins, ahead of the source.
pub(super) const BEGINNING: &str = "{\"s\":";

// The recipients, unless they are a list.
pub(super) const ALL: u64 = 0;
pub(super) const EXCEPT_USER: u64 = 1;
pub(super) const EXCEPT_CONNECTION: u64 = 2;

/// The bytes with which every message of this source begins.
pub fn beginning(source: &str) -> Vec<u8> {
    format!("{BEGINNING}\"{source}\",").into_bytes()
}

/// Appends a message in the short form. Returns `false`, and appends nothing, if a text in it needs escapes: that is
/// rare, and the form has none, so that it can be read without copies.
pub fn write(out: &mut Vec<u8>, source: &str, id: &str, channel: &ChannelKey, message: &UserMessage) -> bool {
    let UserMessage { from, event, payload, request_id, to, position } = message;
    let is_plain = |text: &str| plain(text.as_bytes(), 0) == text.len();
    let users = match to {
        Target::Users(users) => users.as_slice(),
        _ => &[],
    };
    if ![source, id, from, event, request_id].into_iter().all(is_plain) || !users.iter().all(|user| is_plain(user)) {
        return false;
    }
    put(out, &[BEGINNING, "\"", source, "\",\"m\":\"", id, "\",\"a\":"]);
    integer(out, channel.endpoint.len() as u64);
    put(out, &[",\"f\":\"", from, "\",\"e\":\"", event, "\",\"r\":\"", request_id, "\",\"t\":"]);
    match to {
        Target::All => integer(out, ALL),
        Target::ExceptUser(_) => integer(out, EXCEPT_USER),
        Target::ExceptConnection(()) => integer(out, EXCEPT_CONNECTION),
        Target::Users(users) => {
            super::write::list(out, users, |out, user| put(out, &["\"", user, "\""]));
        }
    }
    put(out, &[if position.is_some() { ",\"k\":1" } else { "" }, ",\"p\":", payload.as_str(), "}"]);
    true
}
