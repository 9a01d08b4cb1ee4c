//! Buses for tests: one in memory that can inject faults, and the conformance suite for buses.
//!
//! [`MemoryHub`] joins servers in one process. It works with a paused clock, and delays nothing unless a test asks for it.
//!
//! ```
//! use pondsocket::cluster::{Bus, BusEvent, BusSink, Publish, SinkLimits, Stop};
//! use pondsocket::testing::bus::MemoryHub;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let hub = MemoryHub::new();
//! let (ada, bob) = (hub.node(), hub.node());
//! let (sink, mut events) = BusSink::new(SinkLimits::default());
//! let (stopper, stop) = Stop::new();
//! ada.update_subscriptions(&["news".into()], &[]);
//! tokio::spawn(ada.clone().run(sink, stop));
//! assert!(matches!(events.next().await, Some(BusEvent::Up { .. })));
//! assert!(matches!(events.next().await, Some(BusEvent::Subscribed { .. })));
//!
//! ada.cut();
//! assert!(matches!(events.next().await, Some(BusEvent::Down { .. })));
//! # drop(stopper);
//! # drop(bob);
//! # }
//! ```
//!
//! [`bus_conformance!`](crate::bus_conformance) tests a bus of your own with one test for each of the [`cases`]:
//!
//! ```ignore
//! // tests/conformance.rs; the crate needs tokio with `macros` and `rt-multi-thread`.
//! pondsocket::bus_conformance!(MySubject::start(), leases, faults, history, history_faults);
//! ```

mod bus_under_test;
mod hub;
mod kit;
mod store;

pub mod cases;

pub use bus_under_test::{Breaker, BusUnderTest};
pub use hub::{MemoryBus, MemoryHub};
