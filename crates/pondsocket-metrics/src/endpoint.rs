//! The metric handles of one endpoint. They are looked up once, because the endpoint counts with them at each message.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use pondsocket::metrics::Queue;

use crate::names;

pub(crate) struct EndpointHandles {
    pub(crate) connections: Gauge,
    pub(crate) opened: Counter,
    pub(crate) stayed: Histogram,
    pub(crate) received: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) sent: Counter,
    pub(crate) sent_bytes: Counter,
    pub(crate) recipients: Histogram,
    pub(crate) channels: Gauge,
    pub(crate) members: Gauge,
    pub(crate) joins: Counter,
    channel_queue: Histogram,
    outbox_queue: Histogram,
    receive_queue: Histogram,
}

impl EndpointHandles {
    pub(crate) fn new(endpoint: &str) -> EndpointHandles {
        let endpoint = endpoint.to_owned();
        let queue =
            |queue: Queue| histogram!(names::QUEUE_DEPTH, "endpoint" => endpoint.clone(), "queue" => queue.as_str());
        let count = |name: &'static str| counter!(name, "endpoint" => endpoint.clone());
        let level = |name: &'static str| gauge!(name, "endpoint" => endpoint.clone());
        let spread = |name: &'static str| histogram!(name, "endpoint" => endpoint.clone());
        EndpointHandles {
            connections: level(names::CONNECTIONS),
            opened: count(names::OPENED),
            stayed: spread(names::CONNECTION_SECONDS),
            received: count(names::RECEIVED),
            received_bytes: count(names::RECEIVED_BYTES),
            sent: count(names::SENT),
            sent_bytes: count(names::SENT_BYTES),
            recipients: spread(names::BROADCAST_RECIPIENTS),
            channels: level(names::CHANNELS),
            members: level(names::MEMBERS),
            joins: count(names::JOINS),
            channel_queue: queue(Queue::Channel),
            outbox_queue: queue(Queue::Outbox),
            receive_queue: queue(Queue::Receive),
        }
    }

    /// `None` for a queue that this crate does not know.
    pub(crate) fn queue(&self, queue: Queue) -> Option<&Histogram> {
        match queue {
            Queue::Channel => Some(&self.channel_queue),
            Queue::Outbox => Some(&self.outbox_queue),
            Queue::Receive => Some(&self.receive_queue),
            _ => None,
        }
    }
}
