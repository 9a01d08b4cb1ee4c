//! Test support shared by all crates: a server on a free port and raw clients that check every frame they get, waits
//! with deadlines, random numbers that follow from a seed, and a Redis that lives as long as one test.
//!
//! Each is behind a feature, so that a crate builds no more than its tests need.

#[cfg(feature = "pond")]
mod events;
#[cfg(feature = "pond")]
mod http;
#[cfg(feature = "pond")]
mod log;
#[cfg(feature = "redis")]
mod monitored;
#[cfg(feature = "pond")]
mod order;
#[cfg(feature = "pond")]
mod peer;
mod random;
#[cfg(feature = "pond")]
mod recorder;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "pond")]
mod sessions;
#[cfg(feature = "wait")]
mod wait;

#[cfg(feature = "pond")]
pub use events::{EventPeer, request, request_from};
#[cfg(feature = "pond")]
pub use http::{HttpClient, upgrade};
#[cfg(feature = "pond")]
pub use log::Log;
#[cfg(feature = "redis")]
pub use monitored::MonitoredRedis;
#[cfg(feature = "pond")]
pub use order::OrderLoad;
#[cfg(feature = "pond")]
pub use peer::{Message, Peer, connect_in_memory, serve, serve_in_memory, serve_with};
pub use random::Rng;
#[cfg(feature = "pond")]
pub use recorder::Recorder;
#[cfg(feature = "redis")]
pub use redis::{RedisServer, free_port};
#[cfg(feature = "pond")]
pub use sessions::{BOB, SESSION_KEY, SessionChat, connect_session, resumed};
#[cfg(feature = "wait")]
pub use wait::{DEADLINE, eventually, soon, within};

/// The return type of a test that uses `?`.
pub type TestResult = Result<(), Box<dyn std::error::Error>>;
