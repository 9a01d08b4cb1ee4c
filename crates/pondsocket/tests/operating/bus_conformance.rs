//! The bus in memory passes the suite that every bus should pass.

use pondsocket::testing::bus::MemoryHub;

pondsocket::bus_conformance!(MemoryHub::new(), leases, faults, history, history_faults);
