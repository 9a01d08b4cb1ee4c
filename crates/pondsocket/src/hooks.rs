//! Hooks: functions of the application that are called for every connection, join and message.
//!
//! ```
//! use pondsocket::hooks::Hooks;
//! use pondsocket::metrics::{CloseReason, ConnectionInfo};
//! use pondsocket::{Error, EventContext, PondSocket, Result};
//!
//! struct Audit;
//!
//! impl Hooks for Audit {
//!     fn on_disconnect(&self, connection: &ConnectionInfo<'_>, lasted: std::time::Duration, code: u16, _: CloseReason) {
//!         println!("{} disconnected after {lasted:?} with {code}", connection.user_id());
//!     }
//!
//!     fn before_message(&self, ctx: &EventContext) -> Result<()> {
//!         if ctx.event() == "debug" { Err(Error::forbidden("debug is disabled")) } else { Ok(()) }
//!     }
//! }
//!
//! let pond = PondSocket::new().hooks(Audit);
//! ```
//!
//! Hooks are plain functions that run on the server's own tasks: they must not block. Code that needs I/O, or that belongs to
//! certain endpoints or lobbies, is written as a layer (see [`middleware`](crate::middleware)). As there, the parameters and
//! the query of a context are those of the first pattern that matches.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::channel::Channel;
use crate::context::{EventContext, JoinContext};
use crate::error::{Error, Result};
use crate::failure::chain;
use crate::handler::guard;
use crate::metrics::{CloseReason, Component, ConnectionInfo, Meter};

/// The application's hooks. Each method does nothing by default. A panic in a hook is counted as an internal error, and has no
/// effect on other connections.
#[expect(unused_variables, reason = "the names are documentation")]
pub trait Hooks: Send + Sync + 'static {
    /// Called after a connection handler has accepted a client, before the upgrade. If the upgrade fails, no further hook is
    /// called for this connection.
    ///
    /// # Errors
    /// Declines the client with this error, over HTTP.
    fn on_connect(&self, connection: &ConnectionInfo<'_>) -> Result<()> {
        Ok(())
    }

    /// Called after a connection has ended, with its duration. The code is that of the first close frame, of either side; 1005
    /// for a frame without a code, 1006 if there was no frame (RFC 6455 section 7.4.1).
    fn on_disconnect(&self, connection: &ConnectionInfo<'_>, lasted: Duration, code: u16, reason: CloseReason) {}

    /// Called for a request to join a channel, before the layers and the join handler. Once for each request, also if the handler
    /// runs a second time ([`JoinContext::recovery`]).
    ///
    /// # Errors
    /// Declines the join with this error.
    fn before_join(&self, ctx: &JoinContext) -> Result<()> {
        Ok(())
    }

    /// Called after a join has been decided. `Ok` if the connection has joined, otherwise the error with which it was declined.
    fn after_join(&self, connection: &ConnectionInfo<'_>, channel: &Channel, outcome: Result<(), &Error>) {}

    /// Called for a member's message when it is about to be handled, before the layers and the event handler.
    ///
    /// # Errors
    /// Answers the sender with this error; the message is not handled.
    fn before_message(&self, ctx: &EventContext) -> Result<()> {
        Ok(())
    }

    /// Called after a message has been handled. An error is the one that was sent to its sender.
    fn after_message(
        &self,
        connection: &ConnectionInfo<'_>,
        channel: &Channel,
        event: &str,
        outcome: Result<(), &Error>,
    ) {
    }
}

impl<H: Hooks + ?Sized> Hooks for Arc<H> {
    fn on_connect(&self, connection: &ConnectionInfo<'_>) -> Result<()> {
        (**self).on_connect(connection)
    }

    fn on_disconnect(&self, connection: &ConnectionInfo<'_>, lasted: Duration, code: u16, reason: CloseReason) {
        (**self).on_disconnect(connection, lasted, code, reason);
    }

    fn before_join(&self, ctx: &JoinContext) -> Result<()> {
        (**self).before_join(ctx)
    }

    fn after_join(&self, connection: &ConnectionInfo<'_>, channel: &Channel, outcome: Result<(), &Error>) {
        (**self).after_join(connection, channel, outcome);
    }

    fn before_message(&self, ctx: &EventContext) -> Result<()> {
        (**self).before_message(ctx)
    }

    fn after_message(
        &self,
        connection: &ConnectionInfo<'_>,
        channel: &Channel,
        event: &str,
        outcome: Result<(), &Error>,
    ) {
        (**self).after_message(connection, channel, event, outcome);
    }
}

/// The application's hooks, if it has any.
#[derive(Clone, Default)]
pub(crate) struct HookSet(Option<Arc<dyn Hooks>>);

impl HookSet {
    pub(crate) fn new(hooks: impl Hooks) -> HookSet {
        HookSet(Some(Arc::new(hooks)))
    }

    /// Calls a hook that may decline. Unexpected errors, such as panics, are counted by the caller, which knows the request.
    pub(crate) fn decide(&self, hook: impl FnOnce(&dyn Hooks) -> Result<()>) -> Result<()> {
        let Some(hooks) = &self.0 else { return Ok(()) };
        catch_unwind(AssertUnwindSafe(|| hook(&**hooks))).unwrap_or_else(|panic| Err(guard::panicked(&*panic)))
    }

    /// Calls a hook without a result. A panic is counted and logged.
    pub(crate) fn notify(&self, meter: &Meter, hook: impl FnOnce(&dyn Hooks)) {
        let called = self.decide(|hooks| {
            hook(hooks);
            Ok(())
        });
        if let Err(error) = called {
            meter.count(|metrics| metrics.error(Component::Hook, &error));
            tracing::error!(target: "pondsocket::hooks", error = chain(&error), "a hook panicked");
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }
}

impl fmt::Debug for HookSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "HookSet(on)" } else { "HookSet(off)" })
    }
}
