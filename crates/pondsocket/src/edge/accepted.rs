//! An accepted client, before its connection begins.

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
use crate::engine::sessions::ConnectionSession;

/// An accepted client, without a transport yet.
pub(crate) struct AcceptedConnection {
    pub(crate) identity: Identity,
    pub(crate) connected: Connected,
    /// The session of the client.
    pub(crate) session: Option<Box<ConnectionSession>>,
    pub(crate) permits: Permits,
}

impl AcceptedConnection {
    /// Creates the handle of the connection.
    pub(crate) fn with_handle(
        self,
        endpoint: &Arc<EndpointInner>,
        framing: Framing,
        writer: Writer,
    ) -> PreparedConnection {
        let AcceptedConnection { identity, connected, session, permits } = self;
        let settings = endpoint.settings();
        let (limits, max_assigns) = (Arc::clone(&settings.outboxes), settings.max_assigns_size);
        let options = HandleOptions { framing, limits, max_assigns, session };
        let handle =
            ConnectionHandle::new(identity, Arc::clone(&endpoint.observer), options, connected.assigns, writer);
        PreparedConnection { handle, endpoint: Arc::clone(endpoint), replies: connected.replies, permits }
    }
}

/// An accepted client with the handle of its connection.
pub(crate) struct PreparedConnection {
    pub(crate) handle: Arc<ConnectionHandle>,
    endpoint: Arc<EndpointInner>,
    replies: Vec<(String, Object)>,
    permits: Permits,
}

impl PreparedConnection {
    /// Creates the task of the connection, and queues its first messages, one of which tells the client `id`. No other
    /// message can come before them, because the connection is in no channel yet.
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
