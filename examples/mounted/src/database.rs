use std::sync::{Arc, Mutex};

use serde::Serialize;

/// A stand-in for a pool of connections to a database: cheap to clone, and shared by the host's routes and the pond.
#[derive(Clone, Debug, Default)]
pub struct Database(Arc<Mutex<Vec<Said>>>);

/// A message of a user.
#[derive(Clone, Debug, Serialize)]
pub struct Said {
    from: String,
    text: String,
}

impl Database {
    /// Returns the user of a token.
    pub fn user_of(&self, token: &str) -> Option<String> {
        let name = token.strip_prefix("token-of-")?;
        Some(name.to_owned())
    }

    /// Adds a message.
    pub fn add(&self, from: &str, text: &str) {
        let said = Said { from: from.to_owned(), text: text.to_owned() };
        self.0.lock().expect("no panic under the lock").push(said);
    }

    /// All messages, in the order in which they were added.
    pub fn messages(&self) -> Vec<Said> {
        self.0.lock().expect("no panic under the lock").clone()
    }

    /// The same as JSON.
    pub fn messages_as_json(&self) -> String {
        serde_json::to_string(&self.messages()).expect("strings are always JSON")
    }
}
