//! The users of all nodes of our kind in each channel, replicated to every node, and the recovery of lost messages
//! (docs/cluster.md, State that converges).

mod channel;
mod channels;
pub(super) mod chunks;
pub(super) mod digest;
mod local_state;
mod record;
pub(super) mod sync;
mod tombstones;
pub(super) mod users;

pub(super) use channel::{Changed, ReplicatedChannel};
pub(super) use channels::Channels;
pub use record::{At, Check, Record};
pub(super) use sync::Sync;
pub use users::{Entry, Users};
