//! The access of other nodes to the channels of an endpoint of this server.

use std::sync::{Arc, Weak};

use pondsocket_proto::channel::{RemoteChange, RemoteMember, StoredMessages};
use pondsocket_proto::cluster::message::UserMessageRef;
use pondsocket_proto::cluster::{Command, Verdict};
use pondsocket_proto::id::{ChannelName, UserId};
use pondsocket_proto::position::{Epoch, Position};

use crate::channel::Channel;
use crate::channel::error::MemberError;
use crate::channel::evictions::evicted_user;
use crate::cluster::node::{HistoryHost, HistoryState, Host, Instance};
use crate::context::LeaveReason;
use crate::endpoint::{EndpointInner, Leave, Live};
use crate::engine::live::AtOnce;
use crate::engine::shared_sessions::SharedSessions;
use crate::metrics::{GraceEvent, Limit};
use crate::user::User;

/// The reason for which a user leaves that another node removes: the reason given there is not sent between nodes.
const REMOVED: &str = "removed";

/// An endpoint, as this server's node sees it. The reference is weak, because the endpoint holds the node.
pub(crate) struct EndpointHost(Weak<EndpointInner>);

impl Host for EndpointHost {
    fn show(&self, channel: &ChannelName, instance: u64, changes: Vec<RemoteChange>) {
        let Some(endpoint) = self.0.upgrade() else { return };
        // The core computes changes against what it has shown to one live channel. Another one of the same name has
        // seen none of them.
        if let Some(live) = endpoint.hub.get(channel.as_str()).filter(|live| live.serial == instance) {
            // A channel that has just closed has no members that could receive the changes.
            let moved = live.change(AtOnce, |channel| channel.apply_remote(changes)).unwrap_or_default();
            for ghost in moved {
                endpoint.note_gone_on(channel.as_str(), &ghost, GraceEvent::Moved);
            }
        }
    }

    fn deliver(&self, channel: &str, message: UserMessageRef<'_>) {
        let Some(endpoint) = self.0.upgrade() else { return };
        let Some(live) = endpoint.hub.get(channel) else { return };
        if let Some(user) = evicted_user(message) {
            if !endpoint.evictions.note(&live.name, user.as_str()) {
                return;
            }
            // A channel that has just closed has forgotten everybody.
            let _ = live.change(AtOnce, |channel| channel.note_evicted(&user));
        }
        let policy = live.delivery_policy(message.event);
        let reached = match endpoint.is_out_of_memory() {
            // Nodes have no back-pressure over the bus, so a message over a limit is dropped and logged.
            true => Some(Limit::MemoryFull),
            false => match live.change(AtOnce, |channel| channel.deliver(message, policy)) {
                Ok(Err(_full)) => Some(Limit::ChannelQueue),
                _ => None,
            },
        };
        if let Some(limit) = reached {
            tracing::warn!(target: "pondsocket::limit", channel, %limit, "message of another node dropped");
            endpoint.observer.count(|metrics, endpoint| metrics.limit_reached(endpoint, limit));
        }
    }

    fn inherit(&self, channel: &ChannelName, user: UserId, member: RemoteMember, removed_by: Option<Command>) {
        let Some(endpoint) = self.0.upgrade() else { return };
        // A channel that has closed since has no lobby here any more: nobody runs the handler.
        let Some(live) = endpoint.hub.get(channel.as_str()) else { return };
        let (channel, lobby) = (live.name.clone(), Arc::clone(&live.lobby));
        let user = User { id: user, assigns: member.assigns, presence: member.presence };
        let reason = match removed_by {
            Some(Command::Evict { reason }) => LeaveReason::Evicted(reason),
            Some(_) => LeaveReason::Removed(REMOVED.to_owned()),
            None => LeaveReason::Expired,
        };
        Leave { endpoint, channel, lobby, user, reason }.spawn();
    }

    fn claim_session(&self, record: &str) {
        if let Some(endpoint) = self.0.upgrade() {
            endpoint.sessions.claimed(record);
        }
    }

    fn write_session_records(&self, most: usize) -> usize {
        self.0.upgrade().map_or(0, |endpoint| endpoint.sessions.write_moved_records(most))
    }

    fn rewrite_session_records(&self) {
        if let Some(endpoint) = self.0.upgrade() {
            endpoint.sessions.rewrite_all();
        }
    }

    fn execute(&self, channel: &ChannelName, user: &UserId, command: Command) -> Verdict {
        let Some(endpoint) = self.0.upgrade() else { return Verdict::NotFound };
        // Unbound: the command applies to the membership that the user has now.
        let (channel, user) = (Channel::new(&endpoint, channel.clone()), user.as_str());
        let outcome = match command {
            Command::Evict { reason } => channel.evict_local(user, &reason).map_err(MemberError::from),
            Command::Remove => channel.remove_local(user, REMOVED).map_err(MemberError::from),
            Command::Assign { key, value } => channel.assign_local(user, &key, value),
            Command::MergeAssigns(assigns) => channel.merge_assigns_local(user, assigns),
            Command::Presence(presence) => channel.show_local(user, presence),
            Command::Untrack => channel.untrack_local(user).map_err(MemberError::from),
        };
        match outcome {
            Ok(()) => Verdict::Done,
            Err(MemberError::NotMember) => Verdict::NotFound,
            Err(MemberError::TooLarge(_) | MemberError::NoRoom(_)) => Verdict::Refused,
        }
    }
}

impl HistoryHost for EndpointHost {
    fn deliver_kept(&self, channel: &str, position: Position, message: UserMessageRef<'_>) -> bool {
        let live = self.0.upgrade().and_then(|endpoint| endpoint.hub.get(channel));
        match live {
            Some(live) if live.shared_state().is_some() => {
                live.deliver_kept(position, message, live.delivery_policy(message.event))
            }
            // This node keeps no history of the channel, or has not opened it.
            Some(_) => {
                self.deliver(channel, message);
                false
            }
            None => false,
        }
    }

    fn place(&self, of: &Instance, number: u64, position: Option<Position>) -> bool {
        self.live(of).is_some_and(|live| live.place(number, position))
    }

    fn load(&self, of: &Instance, seen: Epoch, stored: StoredMessages<'_>) -> bool {
        let Some(live) = self.live(of) else { return false };
        let (gap, is_behind) = live.load(seen, stored);
        if let Some(reason) = gap {
            let channel = of.channel.as_str();
            // Each member is counted; after a loss of the store there may be one line for every channel.
            tracing::debug!(target: "pondsocket::channel", channel, %reason, "messages of other nodes are lost");
        }
        is_behind
    }

    fn detach(&self, of: &Instance, epoch: Epoch) {
        if let Some(live) = self.live(of) {
            live.detach(epoch);
        }
    }

    fn reattach(&self, of: &Instance) {
        if let Some(live) = self.live(of) {
            live.reattach();
        }
    }

    fn history(&self, of: &Instance) -> Option<HistoryState> {
        self.live(of)?.shared_state()
    }
}

impl EndpointHost {
    /// Lets the node of the server reach the channels of a new endpoint, if there is a node.
    pub(crate) fn serve(endpoint: &Arc<EndpointInner>) {
        if let Some(node) = endpoint.node() {
            node.add_host(&endpoint.name_among_nodes, Arc::new(EndpointHost(Arc::downgrade(endpoint))));
            if let Some(records) = node.session_records() {
                endpoint.sessions.share(SharedSessions::new(records, &endpoint.name_among_nodes));
            }
        }
    }

    /// The live channel, if it is still this instance.
    fn live(&self, of: &Instance) -> Option<Arc<Live>> {
        self.0.upgrade()?.hub.get(of.channel.as_str()).filter(|live| live.serial == of.serial)
    }
}
