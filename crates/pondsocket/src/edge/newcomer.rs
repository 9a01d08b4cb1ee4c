//! Somebody who has been let in, and becomes a connection.

use std::sync::Arc;

use pondsocket_proto::id::RequestId;
use pondsocket_proto::wire::{Action, GATEWAY, Object, server};

use crate::context::Connected;
use crate::edge::connection::{Connection, Places, Transport};
use crate::endpoint::EndpointInner;
use crate::engine::framing::Framing;
use crate::engine::ids;
use crate::engine::link::{Identity, Link, Terms};
use crate::engine::outbox::Writer;

/// See the module.
pub(crate) struct Newcomer {
    pub(crate) identity: Identity,
    pub(crate) connected: Connected,
    pub(crate) places: Places,
}

impl Newcomer {
    /// Makes what others hold of the connection.
    pub(crate) fn link(self, endpoint: &Arc<EndpointInner>, framing: Framing, writer: Writer) -> Linked {
        let Newcomer { identity, connected, places } = self;
        let settings = endpoint.settings();
        let terms = Terms { framing, bounds: Arc::clone(&settings.outbox), max_assigns: settings.max_assigns_size };
        let link = Link::new(identity, Arc::clone(&endpoint.observer), terms, connected.assigns, writer);
        Linked { link, endpoint: Arc::clone(endpoint), replies: connected.replies, places }
    }
}

/// The same with a link.
pub(crate) struct Linked {
    pub(crate) link: Arc<Link>,
    endpoint: Arc<EndpointInner>,
    replies: Vec<(String, Object)>,
    places: Places,
}

impl Linked {
    /// Makes the connection, with the messages that it begins with queued: nothing can come before them, since it is in
    /// no channel. The client is told this id.
    pub(crate) fn carried_by<T: Transport>(self, transport: T, id: &str) -> Connection<T> {
        let Linked { link, endpoint, replies, places } = self;
        let connection = Connection::new(transport, endpoint, Arc::clone(&link), places);
        let mut text = Vec::new();
        let request_id = RequestId::from_u128(ids::fresh());
        server::connection(&mut text, id, request_id.as_str());
        link.send_text(&text);
        for (event, payload) in replies {
            text.clear();
            let request_id = RequestId::from_u128(ids::fresh());
            server::message(&mut text, Action::System, &event, GATEWAY, request_id.as_str(), payload.as_str());
            link.send_text(&text);
        }
        connection
    }
}
