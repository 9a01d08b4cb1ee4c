//! The metric handles of one endpoint. They are kept, because a lookup by labels at each message would allocate.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use pondsocket::metrics::Queue;

use crate::names;

pub(crate) struct EndpointHandles {
    pub(crate) connections: Gauge,
    pub(crate) opened: Counter,
    pub(crate) connection_seconds: Histogram,
    pub(crate) received: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) sent: Counter,
    pub(crate) sent_bytes: Counter,
    pub(crate) recipients: Histogram,
    pub(crate) channels: Gauge,
    pub(crate) members: Gauge,
    pub(crate) ghosts: Gauge,
    pub(crate) joins: Counter,
    channel_queue: Histogram,
    outbox_queue: Histogram,
    receive_queue: Histogram,
    arrivals_queue: Histogram,
}

impl EndpointHandles {
    pub(crate) fn new(endpoint: &str) -> EndpointHandles {
        let endpoint = endpoint.to_owned();
        let queue =
            |queue: Queue| histogram!(names::QUEUE_DEPTH, "endpoint" => endpoint.clone(), "queue" => queue.as_str());
        // Each handle is looked up once here. A recorder's lookup builds a key from the labels.
        let counter = |name: &'static str| counter!(name, "endpoint" => endpoint.clone());
        let gauge = |name: &'static str| gauge!(name, "endpoint" => endpoint.clone());
        let histogram = |name: &'static str| histogram!(name, "endpoint" => endpoint.clone());
        EndpointHandles {
            connections: gauge(names::CONNECTIONS),
            opened: counter(names::OPENED),
            connection_seconds: histogram(names::CONNECTION_SECONDS),
            received: counter(names::RECEIVED),
            received_bytes: counter(names::RECEIVED_BYTES),
            sent: counter(names::SENT),
            sent_bytes: counter(names::SENT_BYTES),
            recipients: histogram(names::BROADCAST_RECIPIENTS),
            channels: gauge(names::CHANNELS),
            members: gauge(names::MEMBERS),
            ghosts: gauge(names::GHOSTS),
            joins: counter(names::JOINS),
            channel_queue: queue(Queue::Channel),
            outbox_queue: queue(Queue::Outbox),
            receive_queue: queue(Queue::Receive),
            arrivals_queue: queue(Queue::Arrivals),
        }
    }

    /// The histogram of a queue; `None` for a kind that this crate does not know, since [`Queue`] can grow.
    pub(crate) fn queue(&self, queue: Queue) -> Option<&Histogram> {
        match queue {
            Queue::Channel => Some(&self.channel_queue),
            Queue::Outbox => Some(&self.outbox_queue),
            Queue::Receive => Some(&self.receive_queue),
            Queue::Arrivals => Some(&self.arrivals_queue),
            _ => None,
        }
    }
}
