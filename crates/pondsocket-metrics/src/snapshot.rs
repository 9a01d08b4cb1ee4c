//! Gauges that no event updates. They are set from a snapshot before a scrape.

use metrics::gauge;
use pondsocket::Snapshot;

use crate::names;

/// Sets the gauges of waiting messages and bytes, for clients and for the bus, and of kept messages. It is to be called before a scrape, or
/// every few seconds; not more often, because a snapshot visits every connection.
pub fn record(snapshot: &Snapshot) {
    for endpoint in &snapshot.endpoints {
        gauge!(names::WAITING, "endpoint" => endpoint.path.clone()).set(endpoint.waiting_messages as f64);
        gauge!(names::WAITING_BYTES, "endpoint" => endpoint.path.clone()).set(endpoint.waiting_bytes as f64);
    }
    gauge!(names::HISTORY_BYTES).set(snapshot.history.used as f64);
    if let Some(cluster) = &snapshot.cluster {
        gauge!(names::BUS_UP).set(if cluster.up { 1.0 } else { 0.0 });
        gauge!(names::BUS_QUEUED).set(cluster.queued as f64);
        gauge!(names::BUS_QUEUED_BYTES).set(cluster.queued_bytes as f64);
    }
}
