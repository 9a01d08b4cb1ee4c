//! The cluster without I/O: the messages between nodes, and each node's replica of the users of all others.
//!
//! [`Core`] is one node. Its inputs are local changes (a user joins), messages and events of the bus, and the time. Its
//! outputs are actions: publish a message, show a remote user in a channel, execute a command. The users of a node are
//! written by that node alone, with a version for each channel, so that two nodes which have received the same messages
//! hold the same users, in whatever order the messages came. The liveness of nodes is a filter over that state and
//! never part of it (docs/cluster.md).
//!
//! ```text
//!                       local changes, messages, leases, requests, time     (Input)
//!                                             |
//!                                             v
//!   interop <- foreign messages -           Core            - routes, and carries out effects
//!      |                                      |
//!      |       membership: nodes      replication: users      requests: commands, queries
//!      |               \                |                       /
//!      +----------------+--- directory: the users of live nodes
//!                                        |
//!                                   remote_view: remote members of channels here
//!                                             |
//!                                             v
//!                publications, subscriptions, changes of channels, commands, answers    (Output)
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `core` | the routing of inputs to components, and of their effects to outputs |
//! | `membership` | nodes of our kind: leases, silence, and several incarnations of one name |
//! | `replication` | the users of each node in each channel, and the recovery of lost messages |
//! | `requests` | requests to other nodes, and their commands to this one |
//! | `interop` | nodes of other languages, and the translation from and to their messages |
//! | `orphans` | the users of nodes that have gone, for the presence grace of their channels |
//! | `directory` | read access to the users of all other nodes |
//! | `remote_view` | the users of other nodes that each channel here shows |
//! | `context`, `sender`, `timers`, `limits` | the time, settings, timers and limits that components share |
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
mod orphans;
mod random;
mod remote_view;
mod removals;
pub mod replication;
mod requests;
mod sender;
mod settings;
mod time;
mod timers;
mod topic;

pub use crate::model::{MemberChange, RemoteChange, RemoteMember};
pub use core::Core;
pub use io::{Admission, Answer, Bus, ClusterRequest, Command, Excess, Input, Lease, NodeOutput, Output};
pub use message::Verdict;
pub use names::{ChannelKey, NodeId};
pub use settings::Settings;
pub use topic::{Topic, Topics, endpoint_name, is_reserved_endpoint};
