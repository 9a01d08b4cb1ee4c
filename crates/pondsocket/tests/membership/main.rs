//! Channels and their members: joins, presence, assigns and leaves.

mod assigns;
mod channels;
mod grace;
mod history;
mod leaves;
mod members;
mod pending;
mod relayed;
mod repeats;
mod restarted_members;
mod restarts;
mod returning;
mod sessions;

use serde::{Deserialize, Serialize};

/// The presence of a member.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Mood {
    mood: String,
}
