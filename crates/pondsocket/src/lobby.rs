use std::fmt;
use std::sync::{Arc, RwLock};

use pondsocket_proto::pattern::{Match, Pattern};

use crate::context::{EventContext, JoinContext, LeaveContext};
use crate::error::{Error, Result};
use crate::handler::{Erased, Handler, erase};
use crate::states::States;

/// The channels of one pattern, and what happens in them.
///
/// Cheap to clone. Handlers may be registered at any time: they affect later messages.
#[derive(Clone, Debug)]
pub struct Lobby(pub(crate) Arc<LobbyInner>);

pub(crate) struct LobbyInner {
    pub(crate) pattern: Pattern,
    pub(crate) join: Erased<JoinContext>,
    states: States,
    events: RwLock<Arc<[EventRoute]>>,
    leave: RwLock<Option<Erased<LeaveContext>>>,
}

#[derive(Clone)]
struct EventRoute {
    pattern: Pattern,
    handler: Erased<EventContext>,
}

impl Lobby {
    /// The pattern that channel names are matched against.
    pub fn pattern(&self) -> &str {
        self.0.pattern.as_str()
    }

    /// Handles the messages whose event name matches `pattern`. The first pattern registered that matches wins.
    ///
    /// # Panics
    /// If the pattern is invalid or taken, or a [`State`](crate::State) is missing. See
    /// [`try_on_event`](Self::try_on_event).
    pub fn on_event<M>(&self, pattern: &str, handler: impl Handler<EventContext, M>) -> &Self {
        self.try_on_event(pattern, handler).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same, with an error in place of a panic.
    ///
    /// # Errors
    /// 400 if the pattern is invalid, 409 if it is taken.
    pub fn try_on_event<M>(&self, pattern: &str, handler: impl Handler<EventContext, M>) -> Result<&Self> {
        let pattern = parse(pattern)?;
        let handler = erase(handler, &self.0.states);
        let mut events = self.0.events.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = events.iter().map(|route| &route.pattern);
        check_new("event", &pattern, known)?;
        *events = events.iter().cloned().chain([EventRoute { pattern, handler }]).collect();
        Ok(self)
    }

    /// Handles the end of memberships, once each, when the last connection of the user in the channel has gone and
    /// its last messages have been handled. A later registration replaces an earlier one.
    ///
    /// # Panics
    /// If a [`State`](crate::State) is missing.
    pub fn on_leave<M>(&self, handler: impl Handler<LeaveContext, M>) -> &Self {
        let handler = erase(handler, &self.0.states);
        *self.0.leave.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(handler);
        self
    }
}

impl LobbyInner {
    pub(crate) fn new(pattern: Pattern, join: Erased<JoinContext>, states: States) -> Arc<LobbyInner> {
        let (events, leave) = (RwLock::new(Arc::from([])), RwLock::new(None));
        Arc::new(LobbyInner { pattern, join, states, events, leave })
    }

    /// The first handler whose pattern matches `event`, of those from the `from`-th on, and its number.
    pub(crate) fn event_handler(&self, event: &str, from: usize) -> Option<(usize, Match, Erased<EventContext>)> {
        let events = Arc::clone(&self.events.read().unwrap_or_else(std::sync::PoisonError::into_inner));
        let matches = events.iter().enumerate().skip(from);
        matches.filter_map(|(at, route)| Some((at, route.pattern.matches(event)?, Arc::clone(&route.handler)))).next()
    }

    pub(crate) fn leave_handler(&self) -> Option<Erased<LeaveContext>> {
        self.leave.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for LobbyInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lobby").field("pattern", &self.pattern.as_str()).finish_non_exhaustive()
    }
}

/// Parses a pattern at its registration.
pub(crate) fn parse(pattern: &str) -> Result<Pattern> {
    Pattern::parse(pattern).map_err(|error| Error::bad_request(error.to_string()))
}

/// Refuses a pattern that is taken, and warns of one that nothing will ever reach.
pub(crate) fn check_new<'a>(kind: &str, new: &Pattern, known: impl Iterator<Item = &'a Pattern>) -> Result<()> {
    for earlier in known {
        if earlier.as_str() == new.as_str() {
            return Err(Error::conflict(format!("the {kind} pattern `{}` is registered already", new.as_str())));
        }
        if earlier.shadows(new) {
            tracing::warn!(kind, pattern = new.as_str(), earlier = earlier.as_str(), "unreachable pattern");
        }
    }
    Ok(())
}
