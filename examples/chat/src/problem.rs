//! Errors, in a form that the page can act on.

use pondsocket::Error;
use serde::Serialize;
use serde_json::{Value, json};

use crate::messages::MAX_TEXT;

/// The answer to a message with a mistake: a code for programs, a sentence for people, and details.
#[derive(Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Problem {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) details: Value,
}

impl Problem {
    /// The message has no text.
    pub(crate) fn empty() -> Problem {
        Problem::new("EMPTY_MESSAGE", "A message needs some text.", json!({}))
    }

    /// The message has too much text.
    pub(crate) fn too_long(length: usize) -> Problem {
        let message = format!("A message has at most {MAX_TEXT} characters, not {length}.");
        Problem::new("MESSAGE_TOO_LONG", message, json!({ "length": length, "max": MAX_TEXT }))
    }

    /// The payload is of a wrong shape; `error` names the field.
    pub(crate) fn malformed(error: &Error) -> Problem {
        let details = error.details().and_then(|details| serde_json::from_str(details).ok());
        Problem::new("MALFORMED_MESSAGE", error.message(), details.unwrap_or(json!({})))
    }

    /// Only an admin may do this.
    pub(crate) fn admins_only() -> Problem {
        Problem::new("FORBIDDEN", "Only an admin can remove people.", json!({}))
    }

    /// The user is not in the room.
    pub(crate) fn not_in_room(user: &str) -> Problem {
        Problem::new("NOT_IN_ROOM", "That person is not in this room.", json!({ "userId": user }))
    }

    fn new(code: &'static str, message: impl Into<String>, details: Value) -> Problem {
        Problem { code, message: message.into(), details }
    }
}

/// The reason for which a handler failed: a mistake of the user, or a failure of the server.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// A mistake of the user. The client gets it as the reply.
    Problem(Problem),
    /// Any other error. The handler returns it, and the server answers with it.
    Failure(Error),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Refusal {
        Refusal::Problem(problem)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal::Failure(error)
    }
}
