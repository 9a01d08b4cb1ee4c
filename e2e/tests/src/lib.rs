//! End-to-end tests that need nothing but Rust: the contract server as a process of its own, judged over the network.
//! The tests live in `tests/`; the published clients, which need their own tools, in `e2e/clients`.

mod contract_server;
pub mod network;

pub use contract_server::{ContractServer, Holdings, allow_descriptors};
