//! The end of the memberships of one connection, because the connection has ended.

use std::collections::VecDeque;
use std::sync::Arc;

use pondsocket_proto::channel::{Channel, Lost, Progress, Proof, Ring};
use pondsocket_proto::position::Position;

use super::running::TaskKind;
use super::session::Session;
use super::subscription::{EndedMembership, SubscriptionId};
use crate::context::ChannelMembership;
use crate::engine::handle::ConnectionHandle;
use crate::engine::live::ChangedChannels;
use crate::engine::shared_sessions::Positions;
use crate::lobby::LobbyInner;
use crate::metrics::{GraceEvent, Limit};

impl Session {
    /// Ends all memberships at once. Messages that were received before are still handled, in order, and then the leave
    /// handlers run. Undecided joins are dropped without effects. If the server ends the connection, each channel sends a
    /// flush marker behind its last message for the connection.
    pub(super) fn depart(&mut self) {
        if std::mem::replace(&mut self.departed, true) {
            return;
        }
        // Before it leaves: of what channels deliver from now on, not all is for this connection.
        self.handle.with_proof(Proof::stop);
        let mut positions = Vec::new();
        self.running.retain(|handler| !handler.task.kind.is_join());
        self.waiting = None;
        let awaits_flush_markers = self.handle.state().awaits_flush_markers();
        let may_come_back = self.handle.may_come_back(self.is_lost);
        for (id, subscription) in self.subscriptions.iter_mut() {
            let membership = subscription.membership.take();
            let kept = subscription.keep_accepted(membership.is_some());
            if kept.messages > 0 {
                let waiting = self.waiting.get_or_insert_default();
                waiting.messages += kept.messages;
                waiting.bytes += kept.bytes;
            }
            let Some(membership) = membership else { continue };
            let (lost, progress) = lose(&self.handle, &mut self.changed, &membership, may_come_back);
            positions.extend(progress.map(|progress| (membership.live.name.clone(), progress)));
            if awaits_flush_markers {
                membership.live.send_flush_marker(&mut self.changed, &self.handle);
            }
            let (departure, is_ghost) = match lost {
                None => continue,
                Some(Lost::Seated) => (None, false),
                Some(Lost::Left(departure)) => (Some(Arc::new(departure)), false),
                Some(Lost::Ghost(now)) => (Some(Arc::new(now)), true),
            };
            if is_ghost {
                let user = self.handle.user().as_str();
                self.endpoint.note_grace(membership.live.name.as_str(), user, GraceEvent::Began);
            }
            for handler in self.running.iter() {
                if let TaskKind::Event { call, .. } = &handler.task.kind
                    && handler.subscription == id
                {
                    call.depart(departure.clone());
                }
            }
            // The leave handler of a ghost runs when its grace ends, and not here.
            let ended = EndedMembership { membership, departure, leave_started: is_ghost };
            subscription.backlog.get_or_insert_default().ended = Some(ended);
        }
        self.finish_departure(positions);
    }

    /// Leaves the session its ticket, and hands what is still to be handled over to the channels.
    fn finish_departure(&mut self, positions: Positions) {
        // Also the contexts of handlers whose membership had ended before.
        for handler in self.running.iter() {
            if let TaskKind::Event { call, .. } = &handler.task.kind {
                call.depart(None);
            }
        }
        let is_running = |id: &SubscriptionId| self.running.iter().any(|handler| handler.subscription == *id);
        let waiting: VecDeque<_> = self.subscriptions.iter().map(|(id, _)| id).filter(|id| !is_running(id)).collect();
        self.waiting_for_handler = (!waiting.is_empty()).then(|| Box::new(waiting));
        if let Some(session) = &self.handle.session {
            let is_over = self.handle.is_closed_by_client() && !self.is_lost;
            let (id, user) = (self.handle.id(), self.handle.user());
            session.leave(id, user, (!is_over).then_some(positions));
        }
        self.handle.receive_flush_marker();
    }

    /// The client has answered our close frame. If the frame stood behind everything, it may resume without repetitions.
    pub(super) fn prove(&self) {
        if let Some(session) = &self.handle.session
            && self.handle.has_received_all()
        {
            session.prove(self.handle.user());
        }
    }

    /// Drops all unfinished requests, and returns the number of handlers that were running.
    pub(super) fn abandon(&mut self) -> usize {
        self.depart();
        let running = self.running.len();
        for handler in self.running.take_all() {
            if let TaskKind::Event { call, .. } = &handler.task.kind {
                call.cancel_answers();
            }
        }
        self.waiting_for_handler = None;
        self.waiting = None;
        running
    }
}

/// Removes the connection from a channel. Returns what has become of the member, if there was one, and the progress of the client
/// there, if it has a session.
fn lose(
    handle: &Arc<ConnectionHandle>,
    changed: &mut ChangedChannels<LobbyInner>,
    membership: &ChannelMembership,
    may_come_back: bool,
) -> (Option<Lost>, Option<Progress>) {
    let live = &membership.live;
    let grace = if may_come_back { live.begin_grace() } else { None };
    let has_room = grace.is_none() || live.has_room_for_ghost();
    let leave = |channel: &mut Channel<_>| {
        let left = channel.lose(membership.slot, handle.id(), grace.filter(|_| has_room));
        // The last message ahead of the leave is the last one that the client is sent.
        (left, channel.history().map(Ring::position))
    };
    let Ok((Ok(lost), last)) = live.change(changed, leave) else { return (None, None) };
    if !has_room && matches!(lost, Lost::Left(_)) {
        handle.reached(Limit::Ghosts);
    }
    let known = || handle.session.as_ref()?.progress(&live.name);
    let progress = last.and_then(|Position { epoch, offset }| {
        let progress = known()?;
        // It may be that in the history before: one has begun anew, or the client may not know of a gap. What was sent of that,
        // perhaps by other nodes, is not known here.
        let sent = if progress.epoch == epoch { offset.max(progress.sent) } else { u64::MAX };
        Some(Progress { sent, ..progress })
    });
    (Some(lost), progress)
}
