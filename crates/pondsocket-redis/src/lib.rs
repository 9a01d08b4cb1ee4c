//! Joins PondSocket servers over Redis, or what speaks its protocol: a [`Bus`](pondsocket::cluster::Bus).
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
//! Messages travel by classic pub/sub, with `PUBLISH` and exact `SUBSCRIBE`, on the topics of every other PondSocket
//! server; Redis stores nothing of them. The only key is the table of leases. Redis 6.2 or newer, alone, with replicas, or
//! behind sentinels; not Redis Cluster.
//!
//! A bus has two connections. Commands are written in batches: while one is under way the next gathers. The other connection
//! receives, and never waits for the application. Both are made again for ever when they are lost, at random after up to a
//! second, and a bus that receives nothing sends itself something, so that a connection that is open but dead is found
//! within ten seconds. What was published meanwhile is lost, and the node is told so: see docs/cluster-bus.md.
//!
//! | feature | what it adds |
//! |---|---|
//! | `tls` | `rediss://`, with rustls |

mod backoff;
mod bus;
mod connect;
mod error;
mod leases;
mod options;
mod poll_once;
mod probe;
mod publisher;
mod queue;
mod stats;
mod subscriber;
mod subscriptions;
mod token_bucket;

pub use bus::RedisBus;
pub use options::{RedisOptions, SentinelOptions};
