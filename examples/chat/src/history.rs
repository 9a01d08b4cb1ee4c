//! The last messages of each room, in memory. A real application asks its database.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crate::messages::Message;

/// The number of messages that are kept of a room.
const KEPT: usize = 50;

/// The number of rooms with a history; beyond that a new room has none.
const ROOMS: usize = 1000;

/// The last messages, by room.
#[derive(Clone, Debug, Default)]
pub(crate) struct History(Arc<Mutex<HashMap<String, VecDeque<Message>>>>);

impl History {
    /// Remembers a message.
    pub(crate) fn add(&self, room: &str, message: Message) {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !rooms.contains_key(room) && rooms.len() >= ROOMS {
            return;
        }
        let messages = rooms.entry(room.to_owned()).or_default();
        if messages.len() == KEPT {
            messages.pop_front();
        }
        messages.push_back(message);
    }

    /// The last messages of a room, oldest first.
    pub(crate) fn of(&self, room: &str) -> Vec<Message> {
        let rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.get(room).map(|messages| messages.iter().cloned().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::{Role, User};

    #[test]
    fn only_the_last_messages_are_kept() {
        let history = History::default();
        let ada = User { id: "1".into(), username: "ada".into(), role: Role::Member };
        for number in 0..KEPT + 3 {
            history.add("general", Message::new(ada.clone(), number.to_string()));
        }
        let kept = history.of("general");
        assert_eq!((kept.len(), &*kept[0].text), (KEPT, "3"));
        assert!(history.of("other").is_empty());
    }
}
