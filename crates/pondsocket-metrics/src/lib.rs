//! Counters, gauges and histograms of a [`PondSocket`](pondsocket::PondSocket), reported through the [`metrics`]
//! facade: for Prometheus, or any other system that has a recorder.
//!
//! ```
//! use std::thread;
//! use std::time::Duration;
//!
//! use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
//! use pondsocket::{PondSocket, ServerOptions};
//! use pondsocket_metrics::{BUCKETS, Exported};
//!
//! // The recorder must be installed first: events before that are lost.
//! let mut builder = PrometheusBuilder::new();
//! for (histogram, limits) in BUCKETS {
//!     builder = builder.set_buckets_for_metric(Matcher::Full(histogram.into()), limits)?;
//! }
//! let prometheus = builder.install_recorder()?;
//! // It keeps the single samples of histograms until they are aggregated, by a scrape or by this.
//! let upkeep = prometheus.clone();
//! thread::spawn(move || {
//!     loop {
//!         thread::sleep(Duration::from_secs(5));
//!         upkeep.run_upkeep();
//!     }
//! });
//! let pond = PondSocket::new().metrics(Exported::new());
//!
//! // The standalone server serves the metrics at /metrics.
//! let observed = pond.clone();
//! let options = ServerOptions::default().metrics("/metrics", move || {
//!     pondsocket_metrics::record(&observed.snapshot());
//!     prometheus.render()
//! });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Labels are endpoints, patterns, reasons, kinds and codes. The number of their values does not depend on users,
//! channels or messages. All names are in [`names`].

mod endpoint;
mod exported;
mod handles;
mod labels;
pub mod names;
mod snapshot;

pub use exported::Exported;
pub use snapshot::record;

/// The bucket limits of each histogram, for recorders with buckets: seconds, or numbers.
pub const BUCKETS: [(&str, &[f64]); 4] = [
    (names::HANDLER_SECONDS, &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0]),
    (names::CONNECTION_SECONDS, &[1.0, 10.0, 60.0, 600.0, 3600.0, 14_400.0, 86_400.0, 604_800.0]),
    (names::BROADCAST_RECIPIENTS, &[0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0]),
    (names::QUEUE_DEPTH, &[1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0]),
];
