//! What the page and the server say to each other, typed.

use std::time::{SystemTime, UNIX_EPOCH};

use pondsocket::Error;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::users::{Role, User};

/// The longest message, in characters.
pub(crate) const MAX_TEXT: usize = 1000;

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
    pub(crate) fn new(from: &User, text: String) -> Message {
        Message { id: Uuid::new_v4().to_string(), from: from.clone(), text, at: now() }
    }
}

/// How somebody is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Online,
    Away,
    Busy,
    Offline,
}

/// What others see of somebody.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Shown {
    pub(crate) id: String,
    pub(crate) username: String,
    pub(crate) role: Role,
    pub(crate) status: Status,
}

/// The payload of `message`.
#[derive(Debug, Deserialize)]
pub(crate) struct Say {
    pub(crate) text: String,
}

/// The payload of `typing`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Typing {
    pub(crate) is_typing: bool,
}

/// The payload of `status_update`.
#[derive(Debug, Deserialize)]
pub(crate) struct StatusUpdate {
    pub(crate) status: Status,
}

/// The payload of `private_message`. `to` is the id of a user.
#[derive(Debug, Deserialize)]
pub(crate) struct Whisper {
    pub(crate) to: String,
    pub(crate) text: String,
}

/// The payload of `kick`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Kick {
    pub(crate) user_id: String,
    #[serde(default)]
    pub(crate) reason: String,
}

/// An answer that says what was wrong, in a form that the page can act on.
#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    code: &'static str,
    message: String,
    details: Value,
}

impl Problem {
    /// The message has no text.
    pub(crate) fn empty() -> Problem {
        Problem { code: "EMPTY_MESSAGE", message: "A message needs some text.".into(), details: json!({}) }
    }

    /// The message has too much text.
    pub(crate) fn too_long(length: usize) -> Problem {
        let message = format!("A message has at most {MAX_TEXT} characters.");
        Problem { code: "MESSAGE_TOO_LONG", message, details: json!({ "length": length, "max": MAX_TEXT }) }
    }

    /// The payload is of a wrong shape.
    pub(crate) fn malformed(error: &Error) -> Problem {
        let details = error.details().and_then(|details| serde_json::from_str(details).ok()).unwrap_or(json!({}));
        Problem { code: "MALFORMED_MESSAGE", message: error.message().to_owned(), details }
    }

    /// Somebody may not do this.
    pub(crate) fn forbidden(message: &str) -> Problem {
        Problem { code: "FORBIDDEN", message: message.to_owned(), details: json!({}) }
    }

    /// The user is not in the room.
    pub(crate) fn nobody(user: &str) -> Problem {
        let message = "That person is not in this room.".to_owned();
        Problem { code: "NOT_IN_ROOM", message, details: json!({ "userId": user }) }
    }
}

/// A text that may be sent: trimmed, not empty, not too long.
pub(crate) fn checked(text: &str) -> Result<String, Problem> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err(Problem::empty()),
        length if length > MAX_TEXT => Err(Problem::too_long(length)),
        _ => Ok(text.to_owned()),
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_counted_in_characters() {
        assert_eq!(checked("  hi ").map_err(|problem| problem.code), Ok("hi".into()));
        assert_eq!(checked(" \n ").map_err(|problem| problem.code), Err("EMPTY_MESSAGE"));
        assert!(checked(&"é".repeat(MAX_TEXT)).is_ok());
        let long = checked(&"é".repeat(MAX_TEXT + 1)).expect_err("too long");
        assert_eq!((long.code, long.details), ("MESSAGE_TOO_LONG", json!({ "length": 1001, "max": 1000 })));
    }
}
