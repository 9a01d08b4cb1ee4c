//! The channels of a connection, each with its membership and the queue of its requests.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use pondsocket_proto::channel::Departure;
use pondsocket_proto::id::ChannelName;
use pondsocket_proto::wire::client::MalformedMessage;

use crate::context::{ChannelMembership, EventMessage};
use crate::error::Error;

/// The number of channels up to which a name is found by comparing it with all of them. That is faster than to hash it, and
/// needs no memory.
const COMPARED: usize = 8;

/// The index of a subscription of a connection. It is valid until the subscription is removed; a subscription with a
/// backlog never is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct SubscriptionId(u32);

/// The channels of one connection. A request looks its subscription up by the channel's name once, and by its index later.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// Not a vector, because the free places are its capacity already.
    places: Box<[Option<Subscription>]>,
    /// `None` up to [`COMPARED`] subscriptions. The hash has a random key, because clients choose the names.
    #[expect(clippy::box_collection, reason = "8 bytes of each idle connection in place of 48")]
    by_name: Option<Box<HashMap<ChannelName, SubscriptionId>>>,
}

impl Subscriptions {
    pub(super) fn len(&self) -> usize {
        self.iter().count()
    }

    pub(super) fn find(&self, name: &str) -> Option<SubscriptionId> {
        match &self.by_name {
            Some(by_name) => by_name.get(name).copied(),
            None => self.iter().find(|(_, subscription)| subscription.name.as_str() == name).map(|(id, _)| id),
        }
    }

    pub(super) fn find_or_insert(&mut self, name: &ChannelName) -> SubscriptionId {
        if let Some(known) = self.find(name.as_str()) {
            return known;
        }
        let free = self.places.iter().position(Option::is_none).unwrap_or_else(|| self.add_places());
        // A connection is in fewer channels than a `u32` counts: `max_channels_per_connection`.
        let id = SubscriptionId(free as u32);
        self.places[free] = Some(Subscription { name: name.clone(), membership: None, resumes: false, backlog: None });
        if let Some(by_name) = &mut self.by_name {
            by_name.insert(name.clone(), id);
        } else if self.len() > COMPARED {
            self.by_name = Some(Box::new(self.iter().map(|(id, known)| (known.name.clone(), id)).collect()));
        }
        id
    }

    /// Doubles the number of places, of which there is one at first: most connections are in one channel. Returns the first free
    /// one.
    fn add_places(&mut self) -> usize {
        let known = self.places.len();
        let mut places = std::mem::take(&mut self.places).into_vec();
        places.reserve_exact(known.max(1));
        places.resize_with(known + known.max(1), || None);
        self.places = places.into_boxed_slice();
        known
    }

    pub(super) fn get(&self, id: SubscriptionId) -> Option<&Subscription> {
        self.places.get(id.0 as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: SubscriptionId) -> Option<&mut Subscription> {
        self.places.get_mut(id.0 as usize)?.as_mut()
    }

    pub(super) fn remove(&mut self, id: SubscriptionId) {
        let Some(removed) = self.places.get_mut(id.0 as usize).and_then(Option::take) else { return };
        if let Some(by_name) = &mut self.by_name {
            by_name.remove(&removed.name);
        }
        if self.places.iter().all(Option::is_none) {
            // A connection without channels holds no memory for them.
            *self = Subscriptions::default();
        }
    }

    /// Removes the subscriptions for which `keep` is false.
    pub(super) fn retain(&mut self, keep: impl Fn(&Subscription) -> bool) {
        let gone: Vec<_> = self.iter().filter(|(_, known)| !keep(known)).map(|(id, _)| id).collect();
        gone.into_iter().for_each(|id| self.remove(id));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SubscriptionId, &Subscription)> {
        (0..).map(SubscriptionId).zip(self.places.iter()).filter_map(|(id, place)| Some((id, place.as_ref()?)))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (SubscriptionId, &mut Subscription)> {
        (0..).map(SubscriptionId).zip(self.places.iter_mut()).filter_map(|(id, place)| Some((id, place.as_mut()?)))
    }
}

/// One channel of one connection: its membership, and the queue of its requests, which are handled one at a time.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) name: ChannelName,
    /// The membership. It may have been ended by others since, which only the channel knows.
    pub(super) membership: Option<ChannelMembership>,
    /// True if the client keeps its position itself.
    pub(super) resumes: bool,
    /// `None` while there is no request.
    pub(super) backlog: Option<Box<Backlog>>,
}

#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// The requests in the order of their arrival.
    pub(super) queue: VecDeque<Request>,
    /// Set if the connection has ended. Messages that it sent as a member are still handled.
    pub(super) ended: Option<EndedMembership>,
}

/// The end of a membership by the end of its connection.
#[derive(Clone, Debug)]
pub(super) struct EndedMembership {
    pub(super) membership: ChannelMembership,
    /// The member as it was, if it was the last connection of its user there: the user has left, or is a ghost.
    pub(super) departure: Option<Arc<Departure>>,
    /// True if the leave handler has been started, or is not to be started here because the user is a ghost.
    pub(super) leave_started: bool,
}

impl Subscription {
    /// Drops the requests that the connection did not make as a member: an undecided join, and all requests behind it or
    /// behind a leave. Returns the counts of the others.
    pub(super) fn keep_accepted(&mut self, member: bool) -> QueuedRequests {
        let Some(backlog) = &mut self.backlog else { return QueuedRequests::default() };
        let accepted = backlog.queue.iter().take_while(|request| matches!(request, Request::Event(_))).count();
        backlog.queue.truncate(if member { accepted } else { 0 });
        // Nothing is added any more, so the memory of the dropped requests is freed.
        backlog.queue.shrink_to_fit();
        let bytes = backlog.queue.iter().map(Request::bytes).sum();
        QueuedRequests { messages: backlog.queue.len(), bytes, joins: 0 }
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(number: usize) -> ChannelName {
        ChannelName::new(&format!("/room/{number}"), 512).expect("a name")
    }

    proptest! {
        /// Among few and among many channels, whichever come and go.
        #[test]
        fn each_channel_has_one_place_for_as_long_as_it_is_there(
            steps in prop::collection::vec((0..3 * COMPARED, any::<bool>()), 0..100),
        ) {
            let (mut subscriptions, mut known) = (Subscriptions::default(), HashMap::new());
            for (number, comes) in steps {
                if comes {
                    let id = subscriptions.find_or_insert(&name(number));
                    prop_assert_eq!(*known.entry(number).or_insert(id), id);
                } else if let Some(id) = known.remove(&number) {
                    subscriptions.remove(id);
                }
                prop_assert_eq!(subscriptions.len(), known.len());
                for number in 0..3 * COMPARED {
                    let id = known.get(&number).copied();
                    prop_assert_eq!(subscriptions.find(name(number).as_str()), id);
                    let there = id.and_then(|id| subscriptions.get(id)).map(|known| known.name.clone());
                    prop_assert_eq!(there, id.map(|_| name(number)));
                }
                let places: std::collections::HashSet<_> = subscriptions.iter().map(|(id, _)| id).collect();
                prop_assert_eq!(places.len(), known.len());
            }
        }
    }
}

/// A client's request in a channel.
#[derive(Debug)]
pub(super) enum Request {
    Join(JoinRequest),
    /// A malformed join. It is declined, unless the connection is a member at its turn.
    MalformedJoin {
        malformed: Box<MalformedMessage>,
        error: Error,
    },
    Event(EventMessage),
    Leave {
        request_id: Box<str>,
    },
}

/// A request to join.
#[derive(Clone, Debug)]
pub(super) struct JoinRequest {
    pub(super) request_id: Arc<str>,
    pub(super) payload: Arc<str>,
    /// True if its handler has run before, and what it was told did not hold.
    pub(super) is_second: bool,
}

impl Request {
    /// The size of the message in bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Request::Join(JoinRequest { request_id, payload, .. }) => request_id.len() + payload.len(),
            Request::MalformedJoin { malformed, .. } => malformed.bytes(),
            Request::Event(message) => message.bytes(),
            Request::Leave { request_id } => request_id.len(),
        }
    }

    pub(super) fn is_join(&self) -> bool {
        matches!(self, Request::Join(_) | Request::MalformedJoin { .. })
    }
}

/// The counts of the queued messages of a connection, in all its channels.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct QueuedRequests {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    /// The number of joins among the messages.
    pub(super) joins: usize,
}

impl QueuedRequests {
    pub(super) fn add(&mut self, request: &Request) {
        self.messages += 1;
        self.bytes += request.bytes();
        self.joins += usize::from(request.is_join());
    }

    pub(super) fn remove(&mut self, request: &Request) {
        self.messages -= 1;
        self.bytes -= request.bytes();
        self.joins -= usize::from(request.is_join());
    }
}
