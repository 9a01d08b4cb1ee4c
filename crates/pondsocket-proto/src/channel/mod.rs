//! One channel as plain data: its members, and the queue of the messages for them, in one order.
//!
//! The server keeps each [`Channel`] behind a lock. Every change appends the messages that it causes to a queue before
//! it returns, so the order of the changes *is* the order in which members receive them (docs/protocol.md, Order).
//! Delivery takes a [`Batch`] from the queue and works out with [`Recipients`] which part of it each connection gets.
//! Nothing here waits, reads a clock or touches a socket.
//!
//! ```text
//!  join, leave, broadcast, track, evict ...          (under the channel's lock)
//!            |
//!            v
//!     LocalMembers ---->  Batch: ops + text          (appended in the order of the changes)
//!                          |
//!                          v  Channel::take          (by the task that delivers)
//!      Recipients ---->  Plan: the pieces for each connection
//! ```

mod barrier;
mod batch;
mod core;
mod delivery_policy;
mod ghost;
mod history;
mod local_members;
mod outbound;
mod plan;
mod queue;
mod recipients;
mod remote_members;

pub use crate::model::{Assigns, MemberChange, RemoteChange, RemoteMember, UserMessage};
pub use batch::{Audience, Batch, BatchMessage, HistoryGap, Listener, Lists};
pub use core::{
    Accepted, CatchUp, CatchUpLimits, Channel, ChannelLimits, Full, Join, LocalTarget, Published, Refused, Removal,
    SavedGhost, Step, StoredMessage, StoredMessages,
};
pub use delivery_policy::{DeliveryPolicy, DropPolicy, SlowClient};
pub use history::{
    GapReason, HistoryRules, Progress, Proof, Recovery, ResumeRequest, ResumeRules, Ring, SavedMessage, SavedRing,
    Unproven,
};
pub use local_members::{Departure, LocalMembers, Lost, Member, Membership, NotMember, Seats, Slot};
pub use outbound::{AppendedMessage, Outbound};
pub use plan::{Class, Encoded, Piece, Plan, Private, Run};
pub use recipients::{Reception, Recipients};
