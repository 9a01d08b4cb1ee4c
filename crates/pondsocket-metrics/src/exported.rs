//! The implementation of the server's metrics.

use std::fmt;
use std::time::Duration;

use metrics::{Histogram, counter, gauge, histogram};
use pondsocket::metrics::{
    CloseReason, ClusterEvent, Component, ConnectionInfo, DeclineReason, DropReason, GraceEvent, HandlerKind, Limit,
    Metrics, Queue, SocketCloseReason,
};
use pondsocket::{Error, GapReason, Recovery};

use crate::endpoint::EndpointHandles;
use crate::handles::Handles;
use crate::labels::close_code;
use crate::names;

/// The server's [`Metrics`], reported to the recorder of the [`metrics`] facade. The recorder must be installed before
/// the server starts, because handles are kept from their first use on.
pub struct Exported {
    endpoints: Handles<(), EndpointHandles>,
    handlers: Handles<HandlerKind, Histogram>,
}

impl Exported {
    /// Describes all metrics to the installed recorder, and returns the reporter.
    #[expect(clippy::new_without_default, reason = "it has an effect outside of the value")]
    pub fn new() -> Exported {
        names::describe();
        Exported { endpoints: Handles::new(), handlers: Handles::new() }
    }

    fn endpoint(&self, endpoint: &str) -> &EndpointHandles {
        self.endpoints.get((), endpoint, || EndpointHandles::new(endpoint))
    }
}

impl Metrics for Exported {
    fn connection_opened(&self, connection: &ConnectionInfo<'_>) {
        let handles = self.endpoint(connection.endpoint());
        handles.opened.increment(1);
        handles.connections.increment(1);
    }

    fn connection_closed(&self, connection: &ConnectionInfo<'_>, lasted: Duration, code: u16, reason: CloseReason) {
        let handles = self.endpoint(connection.endpoint());
        handles.connections.decrement(1);
        handles.connection_seconds.record(lasted);
        let labels = [
            ("endpoint", connection.endpoint().to_owned()),
            ("reason", reason.to_string()),
            ("code", close_code(code)),
        ];
        counter!(names::CLOSED, &labels).increment(1);
    }

    fn connection_declined(&self, endpoint: &str, status: u16, reason: DeclineReason) {
        let labels =
            [("endpoint", endpoint.to_owned()), ("reason", reason.to_string()), ("status", status.to_string())];
        counter!(names::DECLINED, &labels).increment(1);
    }

    fn connection_error(&self, connection: &ConnectionInfo<'_>, _: &str) {
        counter!(names::CONNECTION_ERRORS, "endpoint" => connection.endpoint().to_owned()).increment(1);
    }

    fn message_received(&self, connection: &ConnectionInfo<'_>, _: &str, _: &str, bytes: usize) {
        let handles = self.endpoint(connection.endpoint());
        handles.received.increment(1);
        handles.received_bytes.increment(bytes as u64);
    }

    fn message_sent(&self, connection: &ConnectionInfo<'_>, messages: usize, bytes: usize) {
        let handles = self.endpoint(connection.endpoint());
        handles.sent.increment(messages as u64);
        handles.sent_bytes.increment(bytes as u64);
    }

    fn message_broadcast(&self, endpoint: &str, _: &str, _: &str, recipients: usize) {
        self.endpoint(endpoint).recipients.record(recipients as f64);
    }

    fn message_dropped(&self, connection: &ConnectionInfo<'_>, reason: DropReason, messages: usize) {
        let endpoint = connection.endpoint().to_owned();
        counter!(names::DROPPED, "endpoint" => endpoint, "reason" => reason.as_str()).increment(messages as u64);
    }

    fn message_repeated(&self, connection: &ConnectionInfo<'_>, _: &str, _: &str) {
        counter!(names::REPEATS, "endpoint" => connection.endpoint().to_owned()).increment(1);
    }

    fn message_blocked(&self, endpoint: &str, _: &str) {
        counter!(names::BLOCKED, "endpoint" => endpoint.to_owned()).increment(1);
    }

    fn channel_resumed(&self, connection: &ConnectionInfo<'_>, _: &str, recovery: Recovery, replayed: usize) {
        let outcome = match recovery {
            Recovery::Resumed { .. } => "resumed",
            Recovery::Gap(reason) => reason.as_str(),
            _ => "new",
        };
        let endpoint = connection.endpoint().to_owned();
        counter!(names::RESUMES, "endpoint" => endpoint.clone(), "outcome" => outcome).increment(1);
        counter!(names::REPLAYED, "endpoint" => endpoint).increment(replayed as u64);
    }

    fn channel_caught_up(&self, connection: &ConnectionInfo<'_>, _: &str, messages: usize) {
        counter!(names::CAUGHT_UP, "endpoint" => connection.endpoint().to_owned()).increment(messages as u64);
    }

    fn channel_gap(&self, connection: &ConnectionInfo<'_>, _: &str, reason: GapReason) {
        let endpoint = connection.endpoint().to_owned();
        counter!(names::GAPS, "endpoint" => endpoint, "reason" => reason.as_str()).increment(1);
    }

    fn channel_joined(&self, connection: &ConnectionInfo<'_>, _: &str) {
        let handles = self.endpoint(connection.endpoint());
        handles.joins.increment(1);
        handles.members.increment(1);
    }

    fn channel_left(&self, endpoint: &str, _: &str, _: &str, reason: &str) {
        // `channel_left` is called once for each membership, like `channel_joined`, so the gauge returns to 0.
        self.endpoint(endpoint).members.decrement(1);
        counter!(names::LEAVES, "endpoint" => endpoint.to_owned(), "reason" => reason.to_owned()).increment(1);
    }

    fn presence_grace(&self, endpoint: &str, _: &str, _: &str, event: GraceEvent) {
        // Each grace begins once and ends once, so the gauge returns to 0.
        let handles = self.endpoint(endpoint);
        match event {
            GraceEvent::Began => handles.ghosts.increment(1),
            GraceEvent::Restored => {
                // Its `channel_joined` was that of an earlier server.
                handles.ghosts.increment(1);
                handles.members.increment(1);
            }
            _ => handles.ghosts.decrement(1),
        }
        counter!(names::GRACE, "endpoint" => endpoint.to_owned(), "event" => event.as_str()).increment(1);
    }

    fn join_declined(&self, connection: &ConnectionInfo<'_>, _: &str, code: u16) {
        let endpoint = connection.endpoint().to_owned();
        counter!(names::JOINS_DECLINED, "endpoint" => endpoint, "code" => code.to_string()).increment(1);
    }

    fn channel_created(&self, endpoint: &str, _: &str) {
        self.endpoint(endpoint).channels.increment(1);
    }

    fn channel_destroyed(&self, endpoint: &str, _: &str) {
        self.endpoint(endpoint).channels.decrement(1);
    }

    fn handler_finished(&self, kind: HandlerKind, pattern: &str, took: Duration, code: Option<u16>) {
        let seconds = || histogram!(names::HANDLER_SECONDS, "kind" => kind.as_str(), "pattern" => pattern.to_owned());
        self.handlers.get(kind, pattern, seconds).record(took);
        if let Some(code) = code {
            let labels = [("kind", kind.to_string()), ("pattern", pattern.to_owned()), ("code", code.to_string())];
            counter!(names::HANDLER_FAILURES, &labels).increment(1);
        }
    }

    fn queue_depth(&self, endpoint: &str, queue: Queue, depth: usize) {
        if let Some(depths) = self.endpoint(endpoint).queue(queue) {
            depths.record(depth as f64);
        }
    }

    fn limit_reached(&self, endpoint: &str, limit: Limit) {
        counter!(names::LIMITS, "endpoint" => endpoint.to_owned(), "limit" => limit.as_str()).increment(1);
    }

    fn socket_closed(&self, reason: SocketCloseReason) {
        counter!(names::SOCKETS_CLOSED, "reason" => reason.as_str()).increment(1);
    }

    fn cluster(&self, event: ClusterEvent) {
        match event {
            ClusterEvent::BusUp => {
                gauge!(names::BUS_UP).set(1);
                counter!(names::BUS_CONNECTIONS).increment(1);
            }
            ClusterEvent::BusDown => gauge!(names::BUS_UP).set(0),
            ClusterEvent::Dropped { reason, messages } => {
                counter!(names::BUS_DROPPED, "reason" => reason.as_str()).increment(messages);
            }
            ClusterEvent::Gap(cause) => counter!(names::BUS_GAPS, "cause" => cause.as_str()).increment(1),
            ClusterEvent::Received => counter!(names::BUS_RECEIVED).increment(1),
            ClusterEvent::Malformed(what) => counter!(names::BUS_MALFORMED, "what" => what).increment(1),
            ClusterEvent::Excess { what, times } => {
                counter!(names::CLUSTER_EXCESS, "what" => what.as_str()).increment(times);
            }
            ClusterEvent::Nodes(nodes) => gauge!(names::NODES).set(nodes as f64),
            ClusterEvent::Diverged => counter!(names::DIVERGENCES).increment(1),
            ClusterEvent::HistoryAppended(messages) => counter!(names::HISTORY_APPENDED).increment(messages),
            ClusterEvent::HistoryRead => counter!(names::HISTORY_READS).increment(1),
            ClusterEvent::HistoryDetached => counter!(names::HISTORY_DETACHED).increment(1),
            ClusterEvent::NameTaken => counter!(names::NAMES_TAKEN).increment(1),
            // `ClusterEvent` is not exhaustive: events of later versions are not exported until they have a name here.
            _ => {}
        }
    }

    fn error(&self, component: Component, _: &Error) {
        counter!(names::ERRORS, "component" => component.as_str()).increment(1);
    }
}

impl fmt::Debug for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exported")
    }
}
