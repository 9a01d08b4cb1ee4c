//! The table of the sessions of an endpoint.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use pondsocket_proto::id::{ConnectionId, UserId};
use tokio::time::Instant;

use super::connection::SessionConnection;
use super::ticket::Ticket;
use crate::engine::session_key::SessionKey;

/// The sessions of an endpoint by their keys.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) by_key: HashMap<SessionKey, Entry>,
    /// The ends of sessions, the earliest first. An entry that has begun again since is passed over.
    ends: VecDeque<(Instant, SessionKey)>,
}

/// A session.
#[derive(Debug)]
pub(super) enum Entry {
    /// Its connection, the attempt of that number, has not left its channels yet.
    Live { id: ConnectionId, attempt: u64, connection: Weak<dyn SessionConnection> },
    /// It has no connection. One may be on its way that goes on with the ticket, and takes this place when it begins.
    Ended {
        ticket: Ticket,
        until: Instant,
        /// True if it is on its way into the store. A second copy there would be used a second time.
        is_being_stored: bool,
    },
}

/// A connection with the same key that has begun while another one was being made.
#[derive(Debug)]
pub(super) struct Other {
    /// Its positions; `None` if it is one of another user.
    pub(super) ticket: Option<Ticket>,
    /// The connection, if it has not left its channels. Not to be dropped under the lock of the table: application code could run.
    pub(super) connection: Option<Arc<dyn SessionConnection>>,
}

impl Table {
    /// Returns `true` if a connection of this key is there that was attempted later than `live`.
    pub(super) fn is_outdated(&self, key: &SessionKey, live: &Entry) -> bool {
        let attempt = |entry: &Entry| match entry {
            Entry::Live { attempt, connection, .. } if connection.strong_count() > 0 => Some(*attempt),
            Entry::Live { .. } | Entry::Ended { .. } => None,
        };
        self.by_key.get(key).and_then(attempt) > attempt(live)
    }

    /// The connection of a user that has begun since `claimed`, the end of the ticket that a new connection has, if there is one.
    pub(super) fn other_since(&self, key: &SessionKey, claimed: Option<Instant>, user: &UserId) -> Option<Other> {
        match self.by_key.get(key)? {
            Entry::Ended { ticket, until, .. } => (claimed != Some(*until) && ticket.user == *user)
                .then(|| Other { ticket: Some(ticket.clone()), connection: None }),
            Entry::Live { connection, .. } => {
                let connection = connection.upgrade()?;
                let session = connection.session().filter(|_| connection.user() == user);
                let ticket = session.map(|session| session.doubtful_ticket(user));
                Some(Other { ticket, connection: Some(connection) })
            }
        }
    }

    /// Keeps a ticket. Those that are kept later must not expire earlier.
    pub(super) fn keep(&mut self, key: SessionKey, ticket: Ticket, until: Instant) {
        self.ends.push_back((until, key));
        self.by_key.insert(key, Entry::Ended { ticket, until, is_being_stored: false });
    }

    /// Removes the ticket that expires then.
    pub(super) fn remove_ended(&mut self, key: SessionKey, at: Instant) {
        if matches!(self.by_key.get(&key), Some(Entry::Ended { until, .. }) if *until == at) {
            self.by_key.remove(&key);
        }
    }

    /// Removes the tickets that have expired.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((_, key)) = self.ends.front().filter(|(until, _)| *until <= now) {
            if matches!(self.by_key.get(key), Some(Entry::Ended { until, .. }) if *until <= now) {
                self.by_key.remove(key);
            }
            self.ends.pop_front();
        }
    }
}
