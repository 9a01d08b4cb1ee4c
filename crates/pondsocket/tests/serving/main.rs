//! Servers: standalone, mounted, over sockets of every kind, until they stop.

mod arrivals;
mod endpoints;
mod listeners;
mod mounting;
mod raw_websockets;
mod server;
mod shards;
mod shutdown;
