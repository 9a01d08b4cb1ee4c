//! The cluster without I/O: the messages between nodes, and the users that each of them knows of the others.
//!
//! [`Core`] is one node. Its inputs are what happens here (a user joins), what the bus delivers, and the time; its outputs
//! are what is to be done: publish this, show that user in this channel, execute that command. Users of a node are written
//! by that node alone, with a version for each channel, so that any two nodes which have heard the same messages hold the
//! same users, in whatever order these came. Whether a node lives is a filter over that state and never part of it
//! (docs/cluster.md).
//!
//! ```text
//!                       local changes, messages, leases, requests, time     (Input)
//!                                             |
//!                                             v
//!   interop <- foreign messages -           Core            - routes, and carries out effects
//!      |                                      |
//!      |       membership: nodes      replication: users      requests: commands, questions
//!      |               \                |                       /
//!      +----------------+--- directory: who is where, of nodes that live
//!                                        |
//!                                   remote_view: what channels here show
//!                                             |
//!                                             v
//!                publications, subscriptions, changes of channels, commands, answers    (Output)
//! ```
//!
//! | module | what it owns |
//! |---|---|
//! | `core` | the way from inputs to components, and from their effects to outputs |
//! | `membership` | nodes of ours: leases, silence, and lives of one name |
//! | `replication` | the users of each node in each channel, and the recovery of lost messages |
//! | `requests` | requests to other nodes, and commands of theirs |
//! | `interop` | nodes of other languages, and the translation from and to their messages |
//! | `directory` | read access to the users of all of them |
//! | `remote_view` | what each channel here shows of other nodes |
//! | `context`, `sender`, `timers`, `limits` | the surroundings of all components |
//! | [`message`] | the messages, decoded and encoded |

mod context;
mod core;
mod dedup;
mod directory;
mod interop;
mod io;
mod limits;
mod membership;
pub mod message;
mod names;
mod random;
mod remote_view;
pub mod replication;
mod requests;
mod sender;
mod settings;
mod time;
mod timers;
mod topic;

pub use crate::model::{MemberChange, RemoteChange, RemoteMember};
pub use core::Core;
pub use io::{Answer, Bus, ClusterRequest, Command, Excess, Input, Lease, NodeOutput, Output};
pub use message::Verdict;
pub use names::{ChannelKey, NodeId};
pub use settings::Settings;
pub use topic::{Topic, Topics, endpoint_name, is_reserved_endpoint};
