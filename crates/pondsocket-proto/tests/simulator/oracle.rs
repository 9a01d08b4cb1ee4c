//! The oracle: the users that are really there, and those that each node should show.

use std::collections::BTreeMap;

use pondsocket_proto::channel::Assigns;
use pondsocket_proto::cluster::{ChannelKey, RemoteMember};
use pondsocket_proto::id::UserId;
use pondsocket_proto::wire::Object;

use super::convergence::RECOVERY;
use super::foreign::{ForeignUser, ForeignUsers};
use super::node::Node;
use super::redis::Peer;
use super::user_actions::INCARNATION;
use super::world::{Participant, World};

/// A node has this user.
#[derive(Clone, Debug)]
struct Claim {
    peer: Peer,
    /// The rank of the entry: the largest one determines the user's assigns.
    rank: (u64, String),
    assigns: Assigns,
    presence: Option<Object>,
}

type Claims = BTreeMap<UserId, Vec<Claim>>;

impl World {
    /// The first difference between what a node shows and what it should show.
    pub(crate) fn difference(&self) -> Option<String> {
        self.channels.iter().find_map(|channel| {
            let claims = self.claims(channel);
            self.live().find_map(|(peer, node)| {
                let view = &node.rooms.get(channel)?.view;
                let tolerates = |user: &UserId, shown: Option<&RemoteMember>| self.tolerates(node, user, shown);
                let what = compare(&self.expected(peer, &claims), view, tolerates)?;
                Some(format!("{peer} ({}) in {}: {what}", node.id.name, channel.channel))
            })
        })
    }

    /// The first difference of this list of users of other nodes from the expected one.
    pub(crate) fn difference_of(
        &self,
        peer: Peer,
        channel: &ChannelKey,
        view: &BTreeMap<UserId, RemoteMember>,
    ) -> Option<String> {
        let Participant::Ours(node) = &self.participants[peer] else { return None };
        let tolerates = |user: &UserId, shown: Option<&RemoteMember>| self.tolerates(node, user, shown);
        compare(&self.expected(peer, &self.claims(channel)), view, tolerates)
    }

    /// Returns whether a node of our kind cannot know how to show this user. Foreign servers lose messages without a
    /// report, and a JavaScript server relays all users that it knows: also those of a node that died, or of a Go
    /// server that they have left, before the observer started.
    fn tolerates(&self, observer: &Node, user: &UserId, shown: Option<&RemoteMember>) -> bool {
        if shown.is_some_and(|shown| self.may_be_orphan(user, shown)) {
            return true;
        }
        if !self.plan.has_foreign() {
            return false;
        }
        let incarnation = shown
            .and_then(|shown| shown.assigns.get(INCARNATION))
            .and_then(|incarnation| incarnation.decode::<String>().ok());
        let is_long_gone = |incarnation: String| {
            let nodes = self
                .participants
                .iter()
                .filter_map(|participant| if let Participant::Ours(node) = participant { Some(node) } else { None });
            nodes.filter(|node| node.id.source() == incarnation).any(|node| node.ended <= observer.began)
        };
        match shown {
            // A Go server publishes changes in any order.
            None => is_foreign(user) && (self.plan.go || !self.plan.is_well()),
            Some(_) if !self.plan.is_well() => true,
            Some(_) => {
                self.plan.js && (incarnation.is_some_and(is_long_gone) || self.has_left_go(user, observer.began))
            }
        }
    }

    /// Returns whether a node that has gone within the presence grace had this user: at its end, or before if an observer
    /// has missed the leave.
    fn may_be_orphan(&self, user: &UserId, shown: &RemoteMember) -> bool {
        let incarnation = shown.assigns.get(INCARNATION).and_then(|incarnation| incarnation.decode::<String>().ok());
        // A death is noticed within 5.5 s. But one fault after the other may keep a node from its judgement as long as there are
        // faults (docs/cluster.md, Liveness), and the grace begins when it notices the death.
        let judges_from = |node: &Node| node.ended.max(self.repaired.min(self.now));
        let noticed_in = RECOVERY + self.plan.hop() * 4;
        let of_ours = |participant: &Participant| {
            let Participant::Ours(node) = participant else { return false };
            let has_gone = node.ended != u64::MAX && self.now <= judges_from(node) + noticed_in + self.plan.grace;
            let had = |node: &Node| node.rooms.values().any(|room| room.members.contains_key(user));
            has_gone && (incarnation.as_ref() == Some(&node.id.source()) || had(node))
        };
        self.plan.grace > 0 && self.participants.iter().any(of_ours)
    }

    /// Returns whether a user has left a Go server by that time. A Go server may publish a list with the user after its
    /// leave, and then a JavaScript server shows the user for long.
    fn has_left_go(&self, user: &UserId, by: u64) -> bool {
        let left = |participant: &Participant| {
            if let Participant::Go(go) = participant { go.left.get(user.as_str()).copied() } else { None }
        };
        self.participants.iter().filter_map(left).any(|left| left <= by)
    }

    fn claims(&self, channel: &ChannelKey) -> Claims {
        let mut claims = Claims::new();
        for (peer, node) in self.live() {
            for (user, member) in node.rooms.get(channel).iter().flat_map(|room| &room.members) {
                let rank = (member.joined, node.id.name.to_string());
                let (assigns, presence) = (member.assigns.clone(), member.presence.clone());
                claims.entry(user.clone()).or_default().push(Claim { peer, rank, assigns, presence });
            }
        }
        for (peer, here, _) in self.foreign_servers(channel) {
            for (user, ForeignUser { assigns, presence, .. }) in here {
                let (assigns, presence) = (assigns.clone(), presence.clone());
                let claim = Claim { peer, rank: (0, String::new()), assigns, presence };
                claims.entry(super::server_channel::user(user)).or_default().push(claim);
            }
        }
        claims
    }

    /// The foreign servers in a channel, with their users there and those that they believe to be on other nodes.
    fn foreign_servers(&self, channel: &ChannelKey) -> impl Iterator<Item = (Peer, &ForeignUsers, &ForeignUsers)> {
        self.participants.iter().enumerate().filter_map(move |(peer, participant)| match participant {
            Participant::Js(js) => js.rooms.get(channel).map(|room| (peer, &room.here, &room.elsewhere)),
            Participant::Go(go) => go.rooms.get(channel).map(|room| (peer, &room.here, &room.elsewhere)),
            Participant::Ours(_) => None,
        })
    }

    fn expected(&self, observer: Peer, claims: &Claims) -> BTreeMap<UserId, RemoteMember> {
        let one = |(user, claims): (&UserId, &Vec<Claim>)| {
            let (own, others): (Vec<_>, Vec<_>) = claims.iter().partition(|claim| claim.peer == observer);
            others.first()?;
            let speaker = claims.iter().max_by_key(|claim| &claim.rank)?;
            let tracked = others.iter().filter(|claim| claim.presence.is_some()).max_by_key(|claim| &claim.rank);
            let over_local = own.first().zip(tracked).is_some_and(|(own, tracked)| tracked.rank > own.rank);
            let presence = tracked.and_then(|claim| claim.presence.clone());
            let joined = others.iter().map(|claim| claim.rank.0).max()?;
            Some((user.clone(), RemoteMember { assigns: speaker.assigns.clone(), presence, over_local, joined }))
        };
        claims.iter().filter_map(one).collect()
    }

    /// The first difference between the users of ours that a foreign server knows and those that it should know. The
    /// users of other foreign servers do not count.
    pub(crate) fn foreign_difference(&self) -> Option<String> {
        self.channels.iter().find_map(|channel| {
            let claims = self.claims(channel);
            self.foreign_servers(channel).filter(|(_, here, _)| !here.is_empty()).find_map(|(peer, _, elsewhere)| {
                let shown = |card: &ForeignUser| RemoteMember {
                    assigns: card.assigns.clone(),
                    presence: card.presence.clone(),
                    over_local: false,
                    joined: 0,
                };
                let view =
                    elsewhere.iter().map(|(user, card)| (super::server_channel::user(user), shown(card))).collect();
                let mut expected = self.expected(peer, &claims);
                // Servers in other languages do not keep the times of joins.
                expected.values_mut().for_each(|shown| shown.joined = 0);
                if self.plan.go {
                    // No message corrects what a Go server has received in the wrong order, or makes it hide a user.
                    expected.retain(|_, shown| shown.presence.is_some());
                }
                let is_tolerated =
                    |user: &UserId, shown: Option<&RemoteMember>| is_foreign(user) || self.plan.go && shown.is_some();
                let what = compare(&expected, &view, is_tolerated)?;
                Some(format!("{peer} (foreign) in {}: {what}", channel.channel))
            })
        })
    }
}

/// Users of servers of other languages have names of their own.
fn is_foreign(user: &UserId) -> bool {
    user.as_str().starts_with('x')
}

/// The first difference that is not tolerated, for what is shown too much or, with nothing, for what is not shown.
fn compare(
    expected: &BTreeMap<UserId, RemoteMember>,
    view: &BTreeMap<UserId, RemoteMember>,
    tolerates: impl Fn(&UserId, Option<&RemoteMember>) -> bool,
) -> Option<String> {
    for (user, wanted) in expected.iter().filter(|(user, _)| !tolerates(user, None)) {
        match view.get(user) {
            None => return Some(format!("{user} is missing, {}", show(wanted))),
            Some(shown) if !is_equal(shown, wanted) => {
                return Some(format!("{user} is {}, and should be {}", show(shown), show(wanted)));
            }
            Some(_) => {}
        }
    }
    let is_ghost =
        |(user, shown): &(&UserId, &RemoteMember)| !expected.contains_key(*user) && !tolerates(user, Some(shown));
    view.iter().find(is_ghost).map(|(user, shown)| format!("{user} is a ghost: {}", show(shown)))
}

fn is_equal(a: &RemoteMember, b: &RemoteMember) -> bool {
    let sorted = |assigns: &Assigns| {
        let mut entries: Vec<_> = assigns.iter().map(|(key, value)| (key.into_owned(), value.to_owned())).collect();
        entries.sort();
        entries
    };
    (&a.presence, a.over_local) == (&b.presence, b.over_local)
        && (a.assigns == b.assigns || sorted(&a.assigns) == sorted(&b.assigns))
}

fn show(shown: &RemoteMember) -> String {
    format!("{:?} {} over local {}", shown.presence, shown.assigns.to_json(), shown.over_local)
}
