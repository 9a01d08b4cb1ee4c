//! The operator's view: options, metrics and snapshots; and the kits with which others test applications and buses.

mod bus_conformance;
mod bus_suite;
mod memory_hub;
mod metrics;
mod options;
mod snapshot;
mod testing;
mod testing_guide;
