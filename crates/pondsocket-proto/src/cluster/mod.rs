//! The cluster without I/O: what nodes tell each other, and what each of them makes of it.
//!
//! [`Core`] is one node. It is told what happens here (a user joins), what the bus delivers and what time it is, and
//! answers with what is to be done: publish this, show that user in this channel, carry out that command. Users of a
//! node are written by that node alone, with a version for each channel, so that any two nodes which have heard the same
//! hold the same, in whatever order they heard it. Whether a node lives is a filter over that state and never part of
//! it (docs/cluster.md).
//!
//! ```text
//!  local changes, messages, leases, time        (Input)
//!            |
//!            v
//!  Core:  own users   records of others   legacy nodes      which nodes live
//!            |              |                   |                  |
//!            |              +------ view: what is shown here ------+
//!            v                            v
//!         publish                  changes of channels                        (Output)
//! ```

mod io;
pub mod message;
mod settings;
mod topic;

mod asks;
mod channel;
mod commands;
mod contested;
mod core;
mod dedup;
mod digest;
mod excess;
mod hear;
mod languages;
mod legacy;
mod liveness;
mod local_state;
mod members;
mod memory;
mod ours;
mod parts;
mod random;
pub mod record;
mod rooms;
mod sync;
mod timers;
mod twins;
mod view;
mod voice;

pub use crate::model::{MemberChange, RemoteChange, RemoteMember};
pub use core::Core;
pub use excess::Excess;
pub use io::{Answer, Bus, ChannelKey, ClusterRequest, Command, Input, Lease, NodeId, Output, Verdict};
pub use settings::Settings;
pub use topic::{Topics, endpoint_name, is_reserved_endpoint};
