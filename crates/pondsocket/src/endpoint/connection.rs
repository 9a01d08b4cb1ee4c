use std::sync::Arc;

use pondsocket_proto::wire::Json;
use serde::Serialize;

use crate::engine::closing::{Close, Closure};
use crate::engine::handle::ConnectionHandle;
use crate::error::{InCall, Result, encoding};
use crate::metrics::CloseReason;
use crate::user::User;

/// A connection, to act on from anywhere.
#[derive(Clone, Debug)]
pub struct Connection(pub(crate) Arc<ConnectionHandle>);

impl Connection {
    /// The connection's id.
    pub fn id(&self) -> String {
        self.0.id().to_string()
    }

    /// The id of its user.
    pub fn user_id(&self) -> &str {
        self.0.user().as_str()
    }

    /// The user id, and the connection's assigns.
    pub fn user(&self) -> User {
        User { id: self.0.user().clone(), assigns: self.0.assigns(), presence: None }
    }

    /// Sets an assign of the connection: later joins start with it.
    ///
    /// # Errors
    /// 500 if the value does not serialise, 413 if the assigns would be larger than `max_assigns_size`.
    pub fn set_assign<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<()> {
        let value = Json::encode(value).map_err(encoding).in_call("connection.set_assign")?;
        self.0.assign(key, value).in_call("connection.set_assign")
    }

    /// Closes it with close code 1000: its memberships end at once. What was sent to it before reaches it, if it reads.
    pub fn disconnect(&self) {
        self.0.close(Close::Graceful(disconnected("disconnected by the server")));
    }
}

/// The close of a connection that the application ends.
pub(crate) fn disconnected(text: &'static str) -> Closure {
    Closure { code: 1000, text: text.into(), reason: CloseReason::Server }
}
