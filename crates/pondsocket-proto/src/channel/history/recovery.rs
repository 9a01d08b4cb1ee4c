use std::fmt;

use crate::wire::Resume;

/// A request to resume a channel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ResumeRequest {
    /// The position up to which the client has received everything.
    pub resume: Resume,
    /// The offset up to which messages were sent to it and may have arrived, if the server knows the position and not the
    /// client itself. Such a client is not told the outcome.
    pub sent: Option<u64>,
}

impl From<Resume> for ResumeRequest {
    fn from(resume: Resume) -> ResumeRequest {
        ResumeRequest { resume, sent: None }
    }
}

/// The outcome of a client's request to resume a channel.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Recovery {
    /// The client has not said that it was in the channel before.
    #[default]
    New,
    /// Everything that the client missed is kept, and is replayed.
    Resumed {
        /// The number of messages that it missed.
        missed: usize,
        /// The number of those that it may have received nevertheless. 0 for a client that sent its position.
        may_repeat: usize,
    },
    /// Messages that the client missed are not kept any more.
    Gap(GapReason),
}

/// The reason for which a client cannot get everything that it missed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum GapReason {
    /// More messages were sent since than are kept.
    Trimmed,
    /// Missed messages are older than those that are kept.
    Expired,
    /// The history is another one than that of the position: the channel was empty for longer than messages are kept, or
    /// the server was restarted without a file of its histories.
    Epoch,
    /// The position is one that has not been given yet.
    Ahead,
    /// More was missed than is replayed at once.
    TooMany,
}

impl Recovery {
    /// Returns `true` if the client gets everything that it missed.
    pub fn is_complete(&self) -> bool {
        matches!(self, Recovery::Resumed { .. })
    }
}

impl GapReason {
    /// The reason as clients receive it.
    pub fn as_str(self) -> &'static str {
        match self {
            GapReason::Trimmed => "trimmed",
            GapReason::Expired => "expired",
            GapReason::Epoch => "epoch",
            GapReason::Ahead => "ahead",
            GapReason::TooMany => "too_many",
        }
    }
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
