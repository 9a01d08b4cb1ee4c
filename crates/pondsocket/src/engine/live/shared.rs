//! A live channel whose history other nodes share. What the store of the bus answers is applied here.

use std::sync::Arc;

use pondsocket_proto::channel::{DeliveryPolicy, GapReason, StoredMessages};
use pondsocket_proto::cluster::message::UserMessageRef;
use pondsocket_proto::position::{Epoch, Position};

use super::{AtOnce, LiveChannel, Ring, Rules};
use crate::cluster::node::HistoryState;

impl<L: Rules> LiveChannel<L> {
    /// Returns `true` if the history is yet to be read from the store.
    pub(crate) fn is_loading(&self) -> bool {
        self.read(|channel| channel.is_loading())
    }

    /// Returns `true` if a position is ahead of this node.
    pub(crate) fn lacks(&self, position: Position) -> bool {
        self.read(|channel| channel.lacks(position))
    }

    /// Returns `true` if the store gives the positions of messages.
    pub(crate) fn asks_for_positions(&self) -> bool {
        self.read(|channel| channel.asks_for_positions())
    }

    /// The state of the history; `None` if it is not shared.
    pub(crate) fn shared_state(&self) -> Option<HistoryState> {
        self.read(|channel| {
            let position = channel.history().map(Ring::position).filter(|_| channel.shares_history())?;
            Some(HistoryState {
                position,
                is_loading: channel.is_loading(),
                is_detached: channel.is_detached(),
                is_behind: channel.is_behind(),
                owes_restart: channel.owes_restart(),
            })
        })
    }

    /// Delivers a message of another node at its position. Returns `true` if it waits for others.
    pub(crate) fn deliver_kept(
        self: &Arc<Self>,
        position: Position,
        message: UserMessageRef<'_>,
        policy: DeliveryPolicy,
    ) -> bool {
        let delivered = self.change(AtOnce, |channel| {
            channel.deliver_kept(position, message, policy);
            channel.is_behind()
        });
        delivered.unwrap_or(false)
    }

    /// Applies the position of a message of this channel; `None` if it is not kept. Returns `true` if it waits for others.
    pub(crate) fn place(self: &Arc<Self>, number: u64, position: Option<Position>) -> bool {
        let placed = self.change(AtOnce, |channel| {
            channel.place(number, position);
            channel.is_behind()
        });
        placed.unwrap_or(false)
    }

    /// Applies what was read from the store, if the history is still in the epoch `seen`. Returns the reason for which members
    /// have perhaps missed messages, and whether messages still wait for others.
    pub(crate) fn load(self: &Arc<Self>, seen: Epoch, stored: StoredMessages<'_>) -> (Option<GapReason>, bool) {
        let policy = |event: &str| self.delivery_policy(event);
        let loaded = self.change(AtOnce, |channel| {
            let epoch = channel.history().map(|ring| ring.position().epoch);
            if epoch != Some(seen) || !channel.asks_for_positions() {
                // It has begun anew since, or gives positions by itself again. What was read before that is of no use.
                return (None, true);
            }
            let gap = channel.load(stored, &policy);
            (gap, channel.is_behind())
        });
        loaded.unwrap_or_default()
    }

    /// Gives positions without the store from now on.
    pub(crate) fn detach(self: &Arc<Self>, epoch: Epoch) {
        // A channel that has closed has nothing that waits.
        let _ = self.change(AtOnce, |channel| channel.detach(epoch));
    }

    /// Lets messages wait for the store again, if they do not.
    pub(crate) fn reattach(self: &Arc<Self>) {
        // The same.
        let _ = self.change(AtOnce, |channel| channel.reattach());
    }
}
