//! What an application wants to know of every connection, join and message, wherever it is handled.
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
//!         println!("{} was here for {lasted:?} and went with {code}", connection.user_id());
//!     }
//!
//!     fn before_message(&self, ctx: &EventContext) -> Result<()> {
//!         if ctx.event() == "debug" { Err(Error::forbidden("not here")) } else { Ok(()) }
//!     }
//! }
//!
//! let pond = PondSocket::new().hooks(Audit);
//! ```
//!
//! Hooks are plain functions that run on the server's own tasks: they must not wait. Whatever needs I/O, or belongs
//! to some endpoints or lobbies only, is a layer (see [`middleware`](crate::middleware)). As there, the parameters and the
//! query that a context shows are those of the first pattern that matches.

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

/// Every method does nothing by default. A panic in one is an internal error, and hurts nobody else.
#[expect(unused_variables, reason = "the names are documentation")]
pub trait Hooks: Send + Sync + 'static {
    /// A connection handler has let a client in; the upgrade comes next. If that fails, nothing more is told.
    ///
    /// # Errors
    /// The client is declined with it, over HTTP.
    fn on_connect(&self, connection: &ConnectionInfo<'_>) -> Result<()> {
        Ok(())
    }

    /// A connection has ended, after this time. The code is the close code that was sent first, by either side; 1005
    /// for a close frame without a code, 1006 if there was none (RFC 6455 section 7.4.1).
    fn on_disconnect(&self, connection: &ConnectionInfo<'_>, lasted: Duration, code: u16, reason: CloseReason) {}

    /// A connection asks to join a channel; layers and the join handler come next.
    ///
    /// # Errors
    /// The join is declined with it.
    fn before_join(&self, ctx: &JoinContext) -> Result<()> {
        Ok(())
    }

    /// A join has been decided: `Ok`, and the connection is in, or declined with this error.
    fn after_join(&self, connection: &ConnectionInfo<'_>, channel: &Channel, outcome: Result<(), &Error>) {}

    /// A message of a member has its turn; layers and the event handler come next.
    ///
    /// # Errors
    /// The sender is told, and the message is not handled.
    fn before_message(&self, ctx: &EventContext) -> Result<()> {
        Ok(())
    }

    /// A message has been handled, with this outcome: an error is what its sender is told.
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

/// The application's hooks, if there are any.
#[derive(Clone, Default)]
pub(crate) struct HookSet(Option<Arc<dyn Hooks>>);

impl HookSet {
    pub(crate) fn new(hooks: impl Hooks) -> HookSet {
        HookSet(Some(Arc::new(hooks)))
    }

    /// Asks a hook that may refuse. The caller counts what is unexpected.
    pub(crate) fn ask(&self, ask: impl FnOnce(&dyn Hooks) -> Result<()>) -> Result<()> {
        let Some(hooks) = &self.0 else { return Ok(()) };
        catch_unwind(AssertUnwindSafe(|| ask(&**hooks))).unwrap_or_else(|panic| Err(guard::panicked(&*panic)))
    }

    /// Tells a hook.
    pub(crate) fn tell(&self, meter: &Meter, tell: impl FnOnce(&dyn Hooks)) {
        let told = self.ask(|hooks| {
            tell(hooks);
            Ok(())
        });
        if let Err(error) = told {
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
