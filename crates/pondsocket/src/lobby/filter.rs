//! The rules of a lobby for messages to clients: their drop policy, and the decisions of its outgoing handlers.

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use pondsocket_proto::channel::{DeliveryPolicy, DropPolicy, HistoryRules, Listener};
use pondsocket_proto::id::ChannelName;
use pondsocket_proto::pattern::Match;
use pondsocket_proto::wire::{Action, server};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::LobbyInner;
use crate::context::{Outgoing, OutgoingContext, OutgoingMessage};
use crate::engine::handle::ConnectionHandle;
use crate::engine::live::{FilterDecision, OutgoingFilter, Rules};
use crate::error::Error;
use crate::failure::{backtrace, chain};
use crate::metrics::{Component, Limit, Queue};
use crate::outgoing::OutgoingNext;
use crate::user::User;

impl Rules for LobbyInner {
    type Recipient = Arc<ConnectionHandle>;

    fn history(&self) -> Option<Arc<HistoryRules>> {
        if self.keeps_history() { self.history_rules() } else { None }
    }

    fn presence_grace(&self) -> u64 {
        self.presence_grace.load(Ordering::Relaxed)
    }

    fn delivery_policy(&self, event: &str) -> DeliveryPolicy {
        // Relaxed: a registration has no order with messages of other threads. The layers of the endpoint are checked
        // apart, because this lobby's flag does not cover them.
        if !self.has_event_policies.load(Ordering::Relaxed) && self.outer.outgoing.is_empty() {
            return DeliveryPolicy::BROADCAST;
        }
        let layered = !self.outer.outgoing.is_empty() || !self.layers.outgoing.is_empty();
        DeliveryPolicy {
            drop_policy: DropPolicy::SlowClient(self.policy(event)),
            filtered: layered || self.outgoing_handler(event).is_some(),
            kept: self.is_kept(event),
        }
    }

    fn filter<'a>(&'a self, text: &'a [u8]) -> Box<dyn OutgoingFilter<Arc<ConnectionHandle>> + 'a> {
        match serde_json::from_slice::<QueuedMessage<'_>>(text) {
            Ok(sent) => Box::new(LobbyFilter::new(self, sent)),
            Err(error) => {
                // The server has written the text itself. Blocking is the safe side: a filter may exist to keep data
                // from some recipients.
                tracing::error!(target: "pondsocket::outgoing", %error, "own message is not readable");
                Box::new(BlockAll)
            }
        }
    }

    fn opened(&self, name: &str) {
        let endpoint = &*self.observer.endpoint;
        tracing::debug!(target: "pondsocket::channel", endpoint, channel = name, "opened");
        self.observer.count(|metrics, endpoint| metrics.channel_created(endpoint, name));
    }

    fn closed(&self, name: &str) {
        let endpoint = &*self.observer.endpoint;
        tracing::debug!(target: "pondsocket::channel", endpoint, channel = name, "closed");
        self.observer.count(|metrics, endpoint| metrics.channel_destroyed(endpoint, name));
    }

    fn history_emptied(&self, name: &str, messages: usize) {
        let (endpoint, limit) = (&*self.observer.endpoint, Limit::History);
        tracing::warn!(target: "pondsocket::limit", endpoint, channel = name, %limit, messages, "history emptied");
        self.observer.count(|metrics, endpoint| metrics.limit_reached(endpoint, limit));
    }

    fn took(&self, operations: usize) {
        self.observer.count(|metrics, endpoint| metrics.queue_depth(endpoint, Queue::Channel, operations));
    }
}

impl LobbyInner {
    /// The policy of a message of an earlier server, by the handlers that there are now: those of that server may have been
    /// others.
    pub(crate) fn policy_of(&self, text: &[u8]) -> DeliveryPolicy {
        match serde_json::from_slice::<EventOf<'_>>(text) {
            Ok(EventOf { event }) => self.delivery_policy(&event),
            // Filtered, and by that blocked: a message that cannot be read is sent to nobody.
            Err(_) => DeliveryPolicy { filtered: true, ..DeliveryPolicy::BROADCAST },
        }
    }
}

/// The event of a message.
#[derive(Deserialize)]
struct EventOf<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
}

/// A message of this server, parsed from the text in the queue. The queue holds text only, so that unfiltered messages
/// cost no parsing and no second form.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueuedMessage<'a> {
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    channel_name: Cow<'a, str>,
    #[serde(borrow)]
    request_id: Cow<'a, str>,
    #[serde(borrow)]
    payload: &'a RawValue,
}

/// The decisions of the outgoing handlers about one message.
struct LobbyFilter<'a> {
    lobby: &'a LobbyInner,
    sent: QueuedMessage<'a>,
    message: Option<Arc<OutgoingMessage>>,
    route: Match,
    next: OutgoingNext,
    has_failed: bool,
}

impl<'a> LobbyFilter<'a> {
    fn new(lobby: &'a LobbyInner, sent: QueuedMessage<'a>) -> Self {
        // The name was checked when the channel was joined, against a limit that is not known here.
        let message = ChannelName::new(&sent.channel_name, usize::MAX).ok().map(|channel| {
            let (event, payload) = (sent.event.as_ref().into(), sent.payload.get().into());
            let (states, pattern) = (lobby.states.clone(), Arc::clone(&lobby.pattern));
            Arc::new(OutgoingMessage { channel, event, payload, states, pattern, channel_route: OnceLock::new() })
        });
        // Found once for each message, not for each recipient.
        let (route, handler) = lobby.outgoing_handler(&sent.event).unzip();
        let next = lobby.outer.outgoing.around(&lobby.layers.outgoing, handler);
        LobbyFilter { lobby, sent, message, route: route.unwrap_or_default(), next, has_failed: false }
    }

    /// Counts the failure for each recipient, and logs it once for each message.
    fn fail(&mut self, error: &Error) -> FilterDecision {
        let (endpoint, channel, event) = (&*self.lobby.observer.endpoint, &*self.sent.channel_name, &*self.sent.event);
        if !std::mem::replace(&mut self.has_failed, true) {
            let pattern = self.lobby.outgoing_pattern(event);
            let (call, error, backtrace) = (error.call(), chain(error), backtrace(error));
            tracing::error!(target: "pondsocket::outgoing", endpoint, channel, event, pattern, call, error, backtrace, "outgoing handler failed");
        }
        self.lobby.observer.count(|metrics, _| metrics.error(Component::OutgoingHandler, error));
        FilterDecision::Block
    }
}

impl OutgoingFilter<Arc<ConnectionHandle>> for LobbyFilter<'_> {
    fn decide(&mut self, to: &Arc<ConnectionHandle>, listener: &Listener) -> FilterDecision {
        let Some(message) = self.message.clone() else { return FilterDecision::Block };
        let Listener { user, assigns, presence, .. } = listener.clone();
        let recipient = User { id: user, assigns, presence };
        let ctx = OutgoingContext { message, recipient, connection: to.id(), route: self.route.clone() };
        let decision = match self.next.clone().run(&ctx) {
            Ok(Outgoing::Pass) => FilterDecision::Pass,
            Ok(Outgoing::Block) => FilterDecision::Block,
            Ok(Outgoing::Replace(replacement)) => {
                // Only broadcasts and replies are filtered, so there are two actions.
                let action = if self.sent.action == "SYSTEM" { Action::System } else { Action::Broadcast };
                let QueuedMessage { event, channel_name, request_id, .. } = &self.sent;
                let mut text = Vec::new();
                server::message(&mut text, action, event, channel_name, request_id, replacement.0.as_str());
                FilterDecision::Replace(text)
            }
            // A handler that fails has not decided, so the message is blocked for this recipient.
            Err(error) => self.fail(&error),
        };
        if matches!(decision, FilterDecision::Block) {
            self.lobby.observer.count(|metrics, endpoint| metrics.message_blocked(endpoint, &self.sent.event));
        }
        decision
    }
}

/// A filter that blocks the message for all recipients.
struct BlockAll;

impl OutgoingFilter<Arc<ConnectionHandle>> for BlockAll {
    fn decide(&mut self, _: &Arc<ConnectionHandle>, _: &Listener) -> FilterDecision {
        FilterDecision::Block
    }
}
