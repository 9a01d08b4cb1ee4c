//! One channel as plain data: who is in it, and what its members are to be told, in one order.
//!
//! [`Channel`] is what stands behind the server's lock. Every change appends what it means for the members to a
//! queue before it returns, so the order of the changes *is* the order in which members hear of them
//! (docs/protocol.md, Order). Delivery takes the queue as a [`Batch`] and works out with [`Recipients`] which part
//! of it each connection gets. Nothing here waits, reads a clock or touches a socket.
//!
//! ```text
//!  join, leave, broadcast, track, evict ...          (under the channel's lock)
//!            |
//!            v
//!     LocalMembers ---->  Batch: ops + text          (appended in the order of the changes)
//!                          |
//!                          v  Channel::take          (by the one who delivers)
//!      Recipients ---->  Plan: who gets which pieces
//! ```

mod batch;
mod core;
mod local_members;
mod outbound;
mod plan;
mod queue;
mod recipients;
mod remote_members;
mod treatment;

pub use crate::model::{Assigns, MemberChange, RemoteChange, RemoteMember, UserMessage};
pub use batch::{Audience, Batch, Listener, Lists};
pub use core::{Accepted, Channel, ChannelLimits, Full, Refused, Removal, Step, Target};
pub use local_members::{Departure, LocalMembers, Member, Membership, NotMember, Seats, Slot};
pub use outbound::Outbound;
pub use plan::{Class, Encoded, Piece, Plan, Private, Run};
pub use recipients::{Reception, Recipients};
pub use treatment::{Loss, SlowClient, Treatment};
