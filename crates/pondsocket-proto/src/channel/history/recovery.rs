use std::fmt;

use super::Progress;
use crate::position::{Epoch, Position};
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

impl ResumeRequest {
    /// The request of a client that joins a channel with a history of this epoch. A position that the client brings with the
    /// join comes first, then that of the last event of its stream that it has received, if the event was one of this
    /// history, then that of its session.
    pub fn choose(
        brought: Option<Resume>,
        last_event: Option<Position>,
        session: Option<Progress>,
        epoch: Option<Epoch>,
    ) -> Option<ResumeRequest> {
        if let Some(resume) = brought {
            return Some(resume.into());
        }
        if let Some(position) = last_event.filter(|position| Some(position.epoch) == epoch) {
            return Some(ResumeRequest { resume: Resume::From(position), sent: Some(position.offset) });
        }
        session.map(|Progress { epoch, proven, sent }| {
            let resume = Resume::From(Position { epoch, offset: proven });
            ResumeRequest { resume, sent: Some(sent) }
        })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Epoch = Epoch::new(1);

    fn at(offset: u64) -> Position {
        Position { epoch: EPOCH, offset }
    }

    #[test]
    fn the_position_of_a_join_precedes_that_of_the_last_event_and_that_of_the_session() {
        let session = Some(Progress { epoch: EPOCH, proven: 3, sent: 9 });
        let choose = |brought, last| ResumeRequest::choose(brought, last, session, Some(EPOCH)).expect("a session");
        assert_eq!(choose(Some(Resume::From(at(7))), Some(at(5))), Resume::From(at(7)).into());
        assert_eq!(choose(Some(Resume::FromNothing), Some(at(5))), Resume::FromNothing.into());
        let exact = ResumeRequest { resume: Resume::From(at(5)), sent: Some(5) };
        assert_eq!(choose(None, Some(at(5))), exact);
        let proven = ResumeRequest { resume: Resume::From(at(3)), sent: Some(9) };
        let elsewhere = Position { epoch: Epoch::new(2), offset: 5 };
        assert_eq!((choose(None, None), choose(None, Some(elsewhere))), (proven, proven));
        assert_eq!(ResumeRequest::choose(None, Some(elsewhere), None, Some(EPOCH)), None);
    }
}
