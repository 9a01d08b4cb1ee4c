//! A client that was accepted, and becomes a connection.

use std::sync::Arc;

use pondsocket_proto::id::RequestId;
use pondsocket_proto::wire::{Action, GATEWAY, Object, server};

use crate::context::Connected;
use crate::edge::connection::{ConnectionTask, Permits, Transport};
use crate::endpoint::EndpointInner;
use crate::engine::framing::Framing;
use crate::engine::handle::{ConnectionHandle, HandleOptions, Identity};
use crate::engine::ids;
use crate::engine::outbox::Writer;

/// See the module.
pub(crate) struct AcceptedConnection {
    pub(crate) identity: Identity,
    pub(crate) connected: Connected,
    pub(crate) permits: Permits,
}

impl AcceptedConnection {
    /// Makes what others hold of the connection.
    pub(crate) fn with_handle(
        self,
        endpoint: &Arc<EndpointInner>,
        framing: Framing,
        writer: Writer,
    ) -> PreparedConnection {
        let AcceptedConnection { identity, connected, permits } = self;
        let settings = endpoint.settings();
        let options =
            HandleOptions { framing, limits: Arc::clone(&settings.outboxes), max_assigns: settings.max_assigns_size };
        let handle =
            ConnectionHandle::new(identity, Arc::clone(&endpoint.observer), options, connected.assigns, writer);
        PreparedConnection { handle, endpoint: Arc::clone(endpoint), replies: connected.replies, permits }
    }
}

/// The same with a handle.
pub(crate) struct PreparedConnection {
    pub(crate) handle: Arc<ConnectionHandle>,
    endpoint: Arc<EndpointInner>,
    replies: Vec<(String, Object)>,
    permits: Permits,
}

impl PreparedConnection {
    /// Makes the connection, with the messages that it begins with queued: nothing can come before them, since it is in
    /// no channel. The client is told this id.
    pub(crate) fn into_task<T: Transport>(self, transport: T, id: &str) -> ConnectionTask<T> {
        let PreparedConnection { handle, endpoint, replies, permits } = self;
        let connection = ConnectionTask::new(transport, endpoint, Arc::clone(&handle), permits);
        let mut text = Vec::new();
        let request_id = RequestId::from_u128(ids::fresh());
        server::connection(&mut text, id, request_id.as_str());
        handle.send_text(&text);
        for (event, payload) in replies {
            text.clear();
            let request_id = RequestId::from_u128(ids::fresh());
            server::message(&mut text, Action::System, &event, GATEWAY, request_id.as_str(), payload.as_str());
            handle.send_text(&text);
        }
        connection
    }
}
