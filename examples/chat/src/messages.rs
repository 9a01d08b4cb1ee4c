//! The messages between page and server, typed.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::problem::Problem;
use crate::users::{Role, User};

/// The longest message, in characters.
pub(crate) const MAX_TEXT: usize = 1000;

/// The longest reason for removing a user, in characters. A longer one is cut.
const MAX_REASON: usize = 200;

/// A message of a room.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) from: User,
    pub(crate) text: String,
    /// Milliseconds since 1970.
    pub(crate) at: u64,
}

impl Message {
    pub(crate) fn new(from: User, text: String) -> Message {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = since.as_millis().try_into().unwrap_or(u64::MAX);
        Message { id: Uuid::new_v4().to_string(), from, text, at }
    }
}

/// A message for one person alone.
#[derive(Debug, Serialize)]
pub(crate) struct PrivateMessage {
    #[serde(flatten)]
    pub(crate) message: Message,
    pub(crate) to: User,
}

/// The status of a user.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    #[default]
    Online,
    Away,
    Busy,
    Offline,
}

/// A member as others see it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Shown {
    id: String,
    username: String,
    role: Role,
    status: Status,
}

impl Shown {
    pub(crate) fn new(user: User, status: Status) -> Shown {
        Shown { id: user.id, username: user.username, role: user.role, status }
    }
}

/// The payload of a join.
#[derive(Debug, Deserialize)]
pub(crate) struct Enter {
    #[serde(default)]
    pub(crate) status: Status,
}

/// The answer to a join. The last messages of the room follow.
#[derive(Debug, Serialize)]
pub(crate) struct Welcome {
    pub(crate) room: Room,
    pub(crate) user: User,
}

/// The state of a room at a join.
#[derive(Debug, Serialize)]
pub(crate) struct Room {
    pub(crate) id: String,
    pub(crate) members: usize,
}

/// The payload of `message`.
#[derive(Debug, Deserialize)]
pub(crate) struct Say {
    pub(crate) text: String,
}

/// The payload of `private_message`. `to` is the id of a user.
#[derive(Debug, Deserialize)]
pub(crate) struct Whisper {
    pub(crate) to: String,
    pub(crate) text: String,
}

/// The payload of `typing`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Typing {
    pub(crate) is_typing: bool,
}

/// The payload of `status_update`.
#[derive(Debug, Deserialize)]
pub(crate) struct StatusUpdate {
    pub(crate) status: Status,
}

/// The payload of `kick`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Kick {
    pub(crate) user_id: String,
    #[serde(default)]
    reason: String,
}

impl Kick {
    pub(crate) fn reason(&self) -> String {
        match self.reason.trim() {
            "" => "An admin asked you to leave.".to_owned(),
            reason => reason.chars().take(MAX_REASON).collect(),
        }
    }
}

/// A text that may be sent: trimmed, not empty, not too long.
pub(crate) fn checked_text(text: &str) -> Result<String, Problem> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err(Problem::empty()),
        length if length > MAX_TEXT => Err(Problem::too_long(length)),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_trimmed_and_counted_in_characters() {
        assert_eq!(checked_text("  hi "), Ok("hi".into()));
        assert_eq!(checked_text(" \n "), Err(Problem::empty()));
        assert!(checked_text(&format!(" {} ", "é".repeat(MAX_TEXT))).is_ok());
        assert_eq!(checked_text(&"é".repeat(MAX_TEXT + 1)), Err(Problem::too_long(1001)));
    }

    #[test]
    fn a_kick_has_a_reason_and_a_short_one() {
        let kick = |reason: String| Kick { user_id: String::new(), reason }.reason();
        assert_eq!(kick(" ".into()), "An admin asked you to leave.");
        assert_eq!(kick("é".repeat(500)).chars().count(), MAX_REASON);
    }
}
