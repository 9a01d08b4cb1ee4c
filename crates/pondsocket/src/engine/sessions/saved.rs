//! Sessions without a connection go on in the next server.

use std::time::Duration;

use pondsocket_proto::channel::Progress;
use pondsocket_proto::id::{ChannelName, UserId};
use tokio::time::Instant;

use super::Sessions;
use super::table::Entry;
use super::ticket::{MAX_CHANNELS, Ticket};
use crate::engine::answers::CopyLimits;
use crate::engine::handled::HandledMessage;
use crate::engine::session_key::SessionKey;

/// A session without a connection, beyond the life of its server.
#[derive(Debug)]
pub(crate) struct SavedSession {
    pub(crate) key: SessionKey,
    pub(crate) user: UserId,
    /// The time until the session is forgotten.
    pub(crate) expires_in: Duration,
    pub(crate) channels: Vec<(ChannelName, Progress)>,
    /// The messages that were handled, the oldest first.
    pub(crate) handled: Vec<HandledMessage>,
}

impl Sessions {
    /// Passes a copy of each session without a connection on. One at a time, so that the memory is that of one session.
    pub(crate) fn save<E>(&self, mut write: impl FnMut(&SavedSession) -> Result<(), E>) -> Result<(), E> {
        let keys: Vec<SessionKey> = self.table.lock().by_key.keys().copied().collect();
        keys.into_iter().filter_map(|key| self.saved(key)).try_for_each(|session| write(&session))
    }

    /// A copy of a session, if it has no connection.
    fn saved(&self, key: SessionKey) -> Option<SavedSession> {
        let table = self.table.lock();
        let Some(Entry::Ended { ticket: Ticket { user, channels, answers, .. }, until, .. }) = table.by_key.get(&key)
        else {
            return None;
        };
        let expires_in = until.checked_duration_since(Instant::now())?;
        let handled = answers.as_ref().map(|answers| answers.copy(CopyLimits::ALL)).unwrap_or_default();
        Some(SavedSession { key, user: user.clone(), expires_in, channels: channels.clone(), handled })
    }

    /// Goes on with the sessions of an earlier server, as many as are allowed, except those that have begun here. They were
    /// saved some time ago. Returns the number of sessions that go on. Called before any other session has ended.
    pub(crate) fn restore(&self, mut saved: Vec<SavedSession>, ago: Duration) -> usize {
        let now = Instant::now();
        let mut table = self.table.lock();
        saved.retain(|session| session.expires_in > ago && !table.by_key.contains_key(&session.key));
        // The table expects their ends in order.
        saved.sort_unstable_by_key(|session| session.expires_in);
        saved.truncate(self.most.saturating_sub(table.by_key.len()));
        let restored = saved.len();
        for SavedSession { key, user, expires_in, mut channels, handled } in saved {
            channels.truncate(MAX_CHANNELS);
            // The time may be from a file: a later end than that of a session which ends now would not be in order.
            let left = (expires_in - ago).min(self.window);
            let answers = self.restore_answers(handled);
            table.keep(key, Ticket { version: 0, user, channels, answers }, now + left);
        }
        restored
    }
}
