//! The PondSocket protocol without I/O: everything that needs neither a socket, a clock nor a task. The server builds
//! on it; so can a client, a proxy or a test.
//!
//! | module | content |
//! |---|---|
//! | [`id`] | names of users, connections, channels and messages |
//! | [`position`] | the places of messages in the history of a channel |
//! | [`pattern`] | `/chat/:room/*`, compiled once and matched often |
//! | [`wire`] | the messages, decoded and encoded |
//! | [`ws`] | RFC 6455 and RFC 7692, server side |
//! | [`model`] | members and messages, shared by channels and nodes |
//! | [`channel`] | one channel: its members, and their messages in one order |
//! | [`cluster`] | one node of a cluster: the users of all nodes, and the messages between nodes |
//!
//! Inputs are method calls, outputs are returned values. Randomness and time are arguments. It builds for
//! `wasm32-unknown-unknown`.

pub mod id;
pub mod pattern;
pub mod position;
pub mod wire;
pub mod ws;

pub mod model;

pub mod channel;
pub mod cluster;
