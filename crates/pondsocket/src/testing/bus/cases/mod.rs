//! The cases of the conformance suite, one function each: see [`bus_conformance!`](crate::bus_conformance).
//!
//! A case panics if the bus breaks a rule of the [contract](crate::cluster#the-contract).

mod delivery;
mod faults;
mod history;
mod leases;
mod lifetime;
mod publishing;
mod records;
mod subscriptions;

pub use delivery::*;
pub use faults::*;
pub use history::*;
pub use leases::*;
pub use lifetime::*;
pub use publishing::*;
pub use records::*;
pub use subscriptions::*;

use super::bus_under_test::BusUnderTest;
use super::kit::{DEADLINE, TestNode, breaker, deadline, soon};
