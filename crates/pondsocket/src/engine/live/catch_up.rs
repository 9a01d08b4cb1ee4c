//! The messages of a history for a connection that had no room for them (see `outbox/holes.rs`).

use pondsocket_proto::channel::{CatchUp, CatchUpLimits, GapReason, Listener};
use pondsocket_proto::id::{ConnectionId, UserId};

use super::LiveChannel;
use super::interfaces::{FilterDecision, Recipient, Rules};
use crate::engine::outbox::{CaughtUp, Hole};

/// The messages in the place of a hole.
#[derive(Debug)]
pub(crate) struct Filling {
    pub(crate) messages: Vec<CaughtUp>,
    /// The offset up to which they are all.
    pub(crate) up_to: u64,
    /// True if messages are missing on which an outgoing handler decides: the connection has left the channel, and there is no
    /// member to decide about.
    pub(crate) is_partial: bool,
}

impl<L: Rules> LiveChannel<L> {
    /// Reads the messages of a hole again, as many as the limits allow. Outgoing handlers decide anew.
    ///
    /// # Errors
    /// The reason for which the first of them is not kept any more.
    pub(crate) fn catch_up(
        &self,
        to: &L::Recipient,
        user: &UserId,
        hole: &Hole,
        limits: CatchUpLimits,
    ) -> Result<Filling, GapReason> {
        let me = (user, to.connection());
        let CatchUp { messages, up_to, listener } = {
            let mut core = self.core.lock();
            core.advance_history();
            core.channel.catch_up(me, hole.first, hole.last, limits)?
        };
        let mut filling = Filling { messages: Vec::with_capacity(messages.len()), up_to, is_partial: false };
        for (position, mut text, policy) in messages {
            if policy.filtered {
                let Some(listener) = &listener else {
                    filling.is_partial = true;
                    continue;
                };
                let Some(decided) = self.decide(to, listener, text) else { continue };
                text = decided;
            }
            let drop_policy = policy.drop_policy;
            filling.messages.push(CaughtUp { text, drop_policy, position: Some(position) });
        }
        Ok(filling)
    }

    /// A message as an outgoing handler lets it pass to a member; `None` if the handler blocks it.
    fn decide(&self, to: &L::Recipient, listener: &Listener, text: Vec<u8>) -> Option<Vec<u8>> {
        let decision = self.lobby.filter(&text).decide(to, listener);
        match decision {
            FilterDecision::Pass => Some(text),
            FilterDecision::Replace(other) => Some(other),
            FilterDecision::Block => None,
        }
    }

    /// A message for one connection, as an outgoing handler lets it pass. `None` if the handler blocks it, or the connection
    /// is not in the channel.
    pub(crate) fn decide_reply(&self, to: &L::Recipient, user: &UserId, event: &str, text: Vec<u8>) -> Option<Vec<u8>> {
        let listener = self.read(|channel| channel.listener_of(user, to.connection()))?;
        if self.delivery_policy(event).filtered { self.decide(to, &listener, text) } else { Some(text) }
    }

    /// Returns whether a connection is in the channel.
    pub(crate) fn has_connection(&self, user: &UserId, connection: ConnectionId) -> bool {
        self.read(|channel| channel.listener_of(user, connection).is_some())
    }
}
