//! The history of a channel: the last broadcasts, each at a position, for connections that were away.
//!
//! ```text
//!  broadcast --> Ring: texts + positions            (under the channel's lock, in the order of the queue)
//!                  |
//!   join with a    v
//!   position --> Recovery: resumed, or the reason for a gap
//!                  |
//!                  v  Op::Replay                    (in the queue, behind the acknowledgement)
//!                Replays: the texts of all replays of one batch, each once
//! ```

#[cfg(test)]
mod fixture;
mod followers;
mod proof;
mod recovery;
mod replays;
mod ring;
mod saved;
mod shared;

pub(super) use followers::{Followers, Unkept, UnkeptMessage};
pub use proof::{Progress, Proof};
pub use recovery::{GapReason, Recovery, ResumeRequest, ResumeRules, Unproven};
pub(super) use replays::Replays;
pub(super) use ring::{Exclusion, KeptMessage};
pub use ring::{HistoryRules, Ring};
pub use saved::{SavedMessage, SavedRing};
pub(super) use shared::{EarlyMessage, OtherMessage, SharedOrder, SharedStage};
