//! What is true, and what should be shown of it where.

use std::collections::BTreeMap;

use pondsocket_proto::channel::Assigns;
use pondsocket_proto::cluster::{ChannelKey, Shown};
use pondsocket_proto::id::UserId;
use pondsocket_proto::wire::Object;

use super::legacy::{Card, Cards};
use super::redis::Peer;
use super::world::{Seat, World};

/// A node has this user.
#[derive(Clone, Debug)]
struct Claim {
    peer: Peer,
    /// The largest speaks for the user.
    rank: (u64, String),
    assigns: Assigns,
    presence: Option<Object>,
}

type Claims = BTreeMap<UserId, Vec<Claim>>;

impl World {
    /// What some node shows otherwise than it should.
    pub(crate) fn difference(&self) -> Option<String> {
        self.channels.iter().find_map(|channel| {
            let claims = self.claims(channel);
            self.live().find_map(|(peer, node)| {
                let view = &node.rooms.get(channel)?.view;
                let what = compare(&self.expected(peer, &claims), view, self.tolerates_strangers())?;
                Some(format!("{peer} ({}) in {}: {what}", node.id.name, channel.channel))
            })
        })
    }

    /// Whether it is beyond our nodes to know exactly who is there: others relay what they have heard, and lose messages
    /// without a word.
    fn tolerates_strangers(&self) -> bool {
        self.plan.has_legacy() && !self.plan.is_well()
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
        for (peer, here, _) in self.strangers(channel) {
            for (user, Card { assigns, presence, .. }) in here {
                let (assigns, presence) = (assigns.clone(), presence.clone());
                let claim = Claim { peer, rank: (0, String::new()), assigns, presence };
                claims.entry(super::room::user(user)).or_default().push(claim);
            }
        }
        claims
    }

    /// Servers of other languages in a channel: who is there, and whom they think to be elsewhere.
    fn strangers(&self, channel: &ChannelKey) -> impl Iterator<Item = (Peer, &Cards, &Cards)> {
        self.seats.iter().enumerate().filter_map(move |(peer, seat)| match seat {
            Seat::Js(js) => js.rooms.get(channel).map(|room| (peer, &room.here, &room.elsewhere)),
            Seat::Go(go) => go.rooms.get(channel).map(|room| (peer, &room.here, &room.elsewhere)),
            Seat::Ours(_) => None,
        })
    }

    fn expected(&self, observer: Peer, claims: &Claims) -> BTreeMap<UserId, Shown> {
        let one = |(user, claims): (&UserId, &Vec<Claim>)| {
            let (own, others): (Vec<_>, Vec<_>) = claims.iter().partition(|claim| claim.peer == observer);
            others.first()?;
            let speaker = claims.iter().max_by_key(|claim| &claim.rank)?;
            let tracked = others.iter().filter(|claim| claim.presence.is_some()).max_by_key(|claim| &claim.rank);
            let over_local = own.first().zip(tracked).is_some_and(|(own, tracked)| tracked.rank > own.rank);
            let presence = tracked.and_then(|claim| claim.presence.clone());
            Some((user.clone(), Shown { assigns: speaker.assigns.clone(), presence, over_local }))
        };
        claims.iter().filter_map(one).collect()
    }

    /// What some server of another language thinks otherwise than it should: of nodes of ours, and of each other.
    pub(crate) fn foreign_difference(&self) -> Option<String> {
        self.channels.iter().find_map(|channel| {
            let claims = self.claims(channel);
            self.strangers(channel).filter(|(_, here, _)| !here.is_empty()).find_map(|(peer, _, elsewhere)| {
                let shown = |card: &Card| Shown {
                    assigns: card.assigns.clone(),
                    presence: card.presence.clone(),
                    over_local: false,
                };
                let view = elsewhere.iter().map(|(user, card)| (super::room::user(user), shown(card))).collect();
                let what = compare(&self.expected(peer, &claims), &view, false)?;
                Some(format!("{peer} (foreign) in {}: {what}", channel.channel))
            })
        })
    }
}

fn compare(expected: &BTreeMap<UserId, Shown>, view: &BTreeMap<UserId, Shown>, lenient: bool) -> Option<String> {
    let is_strange = |user: &&UserId| !lenient || !user.as_str().starts_with('x');
    for (user, wanted) in expected.iter().filter(|(user, _)| is_strange(user)) {
        match view.get(user) {
            None => return Some(format!("{user} is missing, {}", show(wanted))),
            Some(shown) if !is_equal(shown, wanted) => {
                return Some(format!("{user} is {}, and should be {}", show(shown), show(wanted)));
            }
            Some(_) => {}
        }
    }
    let ghost = |(user, _): &(&UserId, &Shown)| !lenient && !expected.contains_key(*user);
    view.iter().find(ghost).map(|(user, shown)| format!("{user} is a ghost: {}", show(shown)))
}

fn is_equal(a: &Shown, b: &Shown) -> bool {
    let sorted = |assigns: &Assigns| {
        let mut entries: Vec<_> =
            assigns.iter().map(|(key, value)| (key.to_owned(), value.as_str().to_owned())).collect();
        entries.sort();
        entries
    };
    (&a.presence, a.over_local) == (&b.presence, b.over_local)
        && (a.assigns == b.assigns || sorted(&a.assigns) == sorted(&b.assigns))
}

fn show(shown: &Shown) -> String {
    format!("{:?} {} over local {}", shown.presence, shown.assigns.to_json(), shown.over_local)
}
