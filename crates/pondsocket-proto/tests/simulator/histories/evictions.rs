//! Users that are put out of a channel, and come back.

use pondsocket_proto::channel::{
    Assigns, Channel, LocalTarget, Recovery, RemoteChange, RemoteMember, ResumeRequest, UserMessage,
};
use pondsocket_proto::cluster::ChannelKey;
use pondsocket_proto::id::UserId;
use pondsocket_proto::wire::Resume;
use serde_json::{Value, json};

use super::super::node::RunState;
use super::super::redis::Peer;
use super::super::world::World;
use super::connection::Connection;

/// The notice of an eviction, for members and for other nodes.
pub(super) const EVICTION: &str = "user_evicted";

/// The message in whose place servers replicate the members of a channel, in the order of its messages.
const JOIN: &str = "user_joined";

/// The time within which all nodes learn of an eviction if there are no faults.
const SETTLED: u64 = 5000;

/// An instance of a channel on a node.
type Place = (Peer, u64);

/// A user of a channel, as far as it concerns evictions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    /// The place at which it was last accepted.
    accepted: Option<Place>,
    /// The last eviction.
    evicted: Option<(Place, u64)>,
    /// It was not accepted since, or does not know that it was.
    is_out: bool,
}

impl Standing {
    pub(super) fn was_evicted(self) -> bool {
        self.evicted.is_some()
    }

    fn evict(&mut self, at: Place, now: u64) {
        (self.evicted, self.is_out) = (Some((at, now)), true);
    }

    /// The user knows that it was accepted: its client has the acknowledgement, or the server has its position.
    pub(super) fn knows(&mut self) {
        self.is_out = false;
    }

    /// The user is accepted.
    pub(super) fn joins(
        &mut self,
        at: Place,
        now: u64,
        is_well: bool,
        (resume, recovery): (Option<ResumeRequest>, Recovery),
    ) -> Result<(), String> {
        let before = std::mem::replace(self, Standing { accepted: Some(at), ..*self });
        let Some(Resume::From(from)) = resume.map(|request| request.resume) else { return Ok(()) };
        let is_evicted_here = before.evicted.is_some_and(|(place, _)| place == at);
        // A node that learns late of an eviction elsewhere takes a user for evicted that has been here meanwhile.
        let is_settled = before.evicted.is_none_or(|(place, since)| place == at || is_well && now > since + SETTLED);
        let is_known = before.accepted == Some(at) || is_well;
        match recovery {
            Recovery::Resumed { .. } if before.is_out && is_evicted_here && is_well => {
                Err(format!("was evicted, and resumes from {from}"))
            }
            Recovery::New if !before.is_out && is_known && is_settled => {
                Err(format!("was accepted, and does not resume from {from}: it joins as a new one"))
            }
            _ => Ok(()),
        }
    }
}

/// Tells other nodes of a join.
pub(super) fn announce_join(channel: &mut Channel<usize>, user: &UserId, connection: usize, now: u64) {
    let payload = json!({ "userId": user.as_str(), "joined": now }).to_string();
    channel.forward(None, &LocalTarget::All, JOIN, &format!("join-{connection}"), &payload);
}

impl World {
    /// A client is evicted on its node. Half of the clients come back to it at once.
    pub(super) fn evict_client(&mut self, number: usize, over: usize) {
        let now = self.now;
        let histories = self.histories();
        let connection = &histories.connections[over];
        let (peer, key, is_member) = (connection.peer, connection.key.clone(), connection.joined.is_some());
        let user = histories.clients[number].user.clone();
        let comes_back = histories.eviction_rng.coin();
        if !is_member || self.node(peer).is_none_or(|node| node.run_state != RunState::Running) {
            return;
        }
        self.note(|| format!("{peer} evicts {user}"));
        let evicted = self.change_history(peer, (&key, None), |open| {
            let removal = open.channel.evict(&user, "spam").expect("a member");
            ((peer, open.serial), removal.connections)
        });
        let (at, ended) = evicted.expect("it is open");
        let histories = self.histories();
        histories.clients[number].standing.evict(at, now);
        for (number, connection) in histories.connections.iter_mut().enumerate() {
            connection.is_evicted |= connection.peer == peer && ended.contains(&Connection::id(number));
        }
        self.lose_connection(over, true);
        self.plan_work(peer);
        if comes_back {
            self.client_connects(number, Some(peer));
        }
    }

    /// Notes what a message says of an eviction, or of a join. Returns whether that is all.
    pub(super) fn note_eviction(&mut self, peer: Peer, key: &ChannelKey, message: &UserMessage) -> bool {
        if message.event != EVICTION && message.event != JOIN {
            return false;
        }
        let payload: Value = serde_json::from_str(message.payload.as_str()).expect("JSON");
        let user = UserId::new(payload["userId"].as_str().expect("a user")).expect("valid");
        self.change_history(peer, (key, None), |open| match payload["joined"].as_u64() {
            None => open.channel.note_evicted(&user),
            Some(joined) => {
                let (assigns, presence) = (Assigns::default(), None);
                let member = RemoteMember { assigns, presence, over_local: false, joined };
                open.channel.apply_remote(vec![RemoteChange::Shown(user.clone(), member), RemoteChange::Gone(user)]);
            }
        });
        message.event == JOIN
    }
}
