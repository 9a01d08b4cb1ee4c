//! End-to-end tests in Rust, which run the contract server as a process of its own and test it over the network.
//! The tests live in `tests/`; the published clients, which need their own tools, in `e2e/clients`.

mod contract_server;
pub mod network;

pub use contract_server::{ContractServer, Holdings, allow_descriptors};
