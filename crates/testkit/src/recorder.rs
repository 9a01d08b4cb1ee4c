use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pondsocket::metrics::{
    CloseReason, ClusterEvent, Component, ConnectionInfo, DeclineReason, DropReason, HandlerKind, Limit, Metrics,
    Queue, SocketCloseReason,
};
use pondsocket::{Error, GapReason, Recovery};

/// Metrics that record each call as a line with its arguments, separated by spaces. Clones share their lines.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Vec<(&'static str, String)>>>);

impl Recorder {
    /// The arguments of the calls of this method, in their order.
    pub fn of(&self, method: &str) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|(of, _)| *of == method).map(|(_, line)| line.clone()).collect()
    }

    /// The methods that were called, in the order of their calls.
    pub fn methods(&self) -> Vec<&'static str> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(method, _)| *method).collect()
    }

    fn note(&self, method: &'static str, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((method, line));
    }
}

impl Metrics for Recorder {
    fn connection_opened(&self, me: &ConnectionInfo<'_>) {
        self.note("connection_opened", format!("{} {}", me.endpoint(), me.user_id()));
    }

    fn connection_closed(&self, me: &ConnectionInfo<'_>, lasted: Duration, code: u16, reason: CloseReason) {
        let lasted = lasted.as_secs();
        self.note("connection_closed", format!("{} {} {lasted}s {code} {reason}", me.endpoint(), me.user_id()));
    }

    fn connection_declined(&self, endpoint: &str, status: u16, reason: DeclineReason) {
        self.note("connection_declined", format!("{endpoint} {status} {reason}"));
    }

    fn connection_error(&self, me: &ConnectionInfo<'_>, error: &str) {
        self.note("connection_error", format!("{} {} {error}", me.endpoint(), me.user_id()));
    }

    fn message_received(&self, me: &ConnectionInfo<'_>, channel: &str, event: &str, bytes: usize) {
        self.note("message_received", format!("{} {} {channel} {event} {bytes}", me.endpoint(), me.user_id()));
    }

    fn message_sent(&self, me: &ConnectionInfo<'_>, messages: usize, bytes: usize) {
        self.note("message_sent", format!("{} {} {messages} {bytes}", me.endpoint(), me.user_id()));
    }

    fn message_broadcast(&self, endpoint: &str, channel: &str, event: &str, recipients: usize) {
        self.note("message_broadcast", format!("{endpoint} {channel} {event} {recipients}"));
    }

    fn message_dropped(&self, me: &ConnectionInfo<'_>, reason: DropReason, messages: usize) {
        self.note("message_dropped", format!("{} {} {reason} {messages}", me.endpoint(), me.user_id()));
    }

    fn message_blocked(&self, endpoint: &str, event: &str) {
        self.note("message_blocked", format!("{endpoint} {event}"));
    }

    fn channel_resumed(&self, me: &ConnectionInfo<'_>, channel: &str, recovery: Recovery, replayed: usize) {
        self.note("channel_resumed", format!("{} {} {channel} {recovery:?} {replayed}", me.endpoint(), me.user_id()));
    }

    fn message_repeated(&self, me: &ConnectionInfo<'_>, channel: &str, event: &str) {
        self.note("message_repeated", format!("{} {} {channel} {event}", me.endpoint(), me.user_id()));
    }

    fn channel_caught_up(&self, me: &ConnectionInfo<'_>, channel: &str, messages: usize) {
        self.note("channel_caught_up", format!("{} {} {channel} {messages}", me.endpoint(), me.user_id()));
    }

    fn channel_gap(&self, me: &ConnectionInfo<'_>, channel: &str, reason: GapReason) {
        self.note("channel_gap", format!("{} {} {channel} {reason}", me.endpoint(), me.user_id()));
    }

    fn channel_joined(&self, me: &ConnectionInfo<'_>, channel: &str) {
        self.note("channel_joined", format!("{} {} {channel}", me.endpoint(), me.user_id()));
    }

    fn channel_left(&self, endpoint: &str, user: &str, channel: &str, reason: &str) {
        self.note("channel_left", format!("{endpoint} {user} {channel} {reason}"));
    }

    fn join_declined(&self, me: &ConnectionInfo<'_>, channel: &str, code: u16) {
        self.note("join_declined", format!("{} {} {channel} {code}", me.endpoint(), me.user_id()));
    }

    fn channel_created(&self, endpoint: &str, channel: &str) {
        self.note("channel_created", format!("{endpoint} {channel}"));
    }

    fn channel_destroyed(&self, endpoint: &str, channel: &str) {
        self.note("channel_destroyed", format!("{endpoint} {channel}"));
    }

    fn handler_finished(&self, kind: HandlerKind, pattern: &str, took: Duration, code: Option<u16>) {
        let code = code.map_or_else(|| "ok".to_owned(), |code| code.to_string());
        self.note("handler_finished", format!("{kind} {pattern} {}s {code}", took.as_secs()));
    }

    fn queue_depth(&self, endpoint: &str, queue: Queue, depth: usize) {
        self.note("queue_depth", format!("{endpoint} {queue} {depth}"));
    }

    fn limit_reached(&self, endpoint: &str, limit: Limit) {
        self.note("limit_reached", format!("{endpoint} {limit}"));
    }

    fn socket_closed(&self, reason: SocketCloseReason) {
        self.note("socket_closed", reason.to_string());
    }

    fn cluster(&self, event: ClusterEvent) {
        self.note("cluster", format!("{event:?}"));
    }

    fn error(&self, component: Component, error: &Error) {
        self.note("error", format!("{component} {}", error.code()));
    }
}
