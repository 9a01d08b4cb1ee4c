//! A [`Bus`](pondsocket::cluster::Bus) that connects PondSocket servers over Redis, or any server that speaks its
//! protocol.
//!
//! ```no_run
//! use std::sync::Arc;
//! use pondsocket_redis::{RedisBus, RedisOptions};
//!
//! # fn main() -> Result<(), pondsocket::cluster::BusError> {
//! let options = RedisOptions::url("redis://:secret@redis.example.org:6379")?.namespace("shop");
//! let bus = Arc::new(RedisBus::new(options)?);
//! # Ok(())
//! # }
//! ```
//!
//! Messages travel by classic pub/sub, with `PUBLISH` and exact `SUBSCRIBE`, on the topics that PondSocket servers in
//! all languages use. Redis keeps the table of leases, and the messages of channels that have a history, each as a
//! stream. Redis 6.2 or newer, or Valkey, alone, with replicas, or behind sentinels; not Redis Cluster. The rights that a
//! user needs, and the memory that histories take, are in docs/cluster-bus.md.
//!
//! Programs that are no nodes, in any language, publish into channels with a Redis function: [`FUNCTIONS`] and docs/publishing.md.
//!
//! A bus has two connections. One writes commands in batches: while one batch is under way the next gathers. The other
//! one receives, and never waits for the application. A lost connection is made again, for ever, after a random pause
//! of up to a second. A bus that receives nothing sends a message to itself, so that a connection that is open but dead
//! is detected within ten seconds. Messages published meanwhile are lost, and the loss is reported to the node: see
//! docs/cluster-bus.md.
//!
//! | feature | adds |
//! |---|---|
//! | `tls` | `rediss://`, with rustls |

mod backoff;
mod bus;
mod connect;
mod error;
mod functions;
mod history;
mod leases;
mod options;
mod poll_once;
mod probe;
mod publisher;
mod queue;
mod script;
mod stats;
mod subscriber;
mod subscriptions;
mod token_bucket;

pub use bus::RedisBus;
pub use functions::FUNCTIONS;
pub use options::{RedisOptions, SentinelOptions};
