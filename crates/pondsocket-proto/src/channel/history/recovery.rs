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
    /// client itself. Such a client is not told the outcome. `u64::MAX` if it is not known.
    pub sent: Option<u64>,
    /// `true` if other nodes may have sent it messages that have not come here: the store of the history could not be read since the
    /// client came.
    pub is_unread: bool,
    /// The treatment of those messages.
    pub unproven: Unproven,
    /// The reason for which the channel is not resumed in any case.
    pub gap: Option<GapReason>,
}

/// The treatment of messages that were sent to a client and may have arrived.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Unproven {
    /// They are replayed: at least once.
    #[default]
    Repeat,
    /// They count as received: at most once. If it is not known which were sent, because the node of the client was lost, they are a
    /// gap, as by [`Gap`](Self::Gap).
    Skip,
    /// They are a gap, [`GapReason::Unproven`]: the client gets neither these nor later ones by a replay.
    Gap,
}

/// The rules by which clients resume the channels of a lobby.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ResumeRules {
    /// The treatment of messages that may have arrived.
    pub unproven: Unproven,
    /// `true` if a client gets only what its session has missed.
    pub own_past_only: bool,
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
        ResumeRules { unproven, own_past_only }: ResumeRules,
    ) -> Option<ResumeRequest> {
        // The position as far as it is one that the session was sent.
        let own = |Position { epoch, offset }: Position| {
            let Progress { proven, sent, .. } = session.filter(|session| session.epoch == epoch)?;
            Some(Position { epoch, offset: offset.clamp(proven, sent.max(proven)) })
        };
        match brought {
            Some(Resume::From(position)) if own_past_only => {
                let own = own(position);
                let resume = Resume::From(own.unwrap_or(position));
                return Some(ResumeRequest { gap: own.is_none().then_some(GapReason::Unproven), ..resume.into() });
            }
            Some(resume) => return Some(resume.into()),
            None => {}
        }
        let last_event = last_event.filter(|position| Some(position.epoch) == epoch);
        let last_event = if own_past_only { last_event.and_then(own) } else { last_event };
        if let Some(position) = last_event {
            let sent = Some(position.offset);
            return Some(ResumeRequest { sent, unproven, ..Resume::From(position).into() });
        }
        session.map(|Progress { epoch, proven, sent }| {
            let is_passed_over = unproven == Unproven::Skip && sent < u64::MAX;
            let offset = if is_passed_over { sent.max(proven) } else { proven };
            let resume = Resume::From(Position { epoch, offset });
            ResumeRequest { sent: Some(sent), unproven, ..resume.into() }
        })
    }

    /// The request of a client whose session may have had a position which cannot be read any more: a gap, of which the client
    /// itself is not told.
    pub fn of_lost_session() -> ResumeRequest {
        ResumeRequest { sent: Some(0), ..Resume::FromUnknown.into() }
    }
}

impl ResumeRequest {
    /// The offset up to which earlier connections may have been sent messages of the history, whose last one has the position `here`.
    pub(in crate::channel) fn sent_before(&self, here: Position) -> u64 {
        match (self.resume, self.sent) {
            // All that was sent by then has come here.
            (Resume::From(from), Some(u64::MAX)) if from.epoch == here.epoch && !self.is_unread => here.offset,
            (Resume::From(from), Some(sent)) if from.epoch == here.epoch => sent,
            _ => 0,
        }
    }
}

impl From<Resume> for ResumeRequest {
    fn from(resume: Resume) -> ResumeRequest {
        ResumeRequest { resume, sent: None, is_unread: false, unproven: Unproven::default(), gap: None }
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
        /// The number of messages that it missed. `usize::MAX` if `may_repeat` is.
        missed: usize,
        /// The number of those that it may have received nevertheless. 0 for a client that sent its position. `usize::MAX` if that is
        /// not known: its session goes on, and the store of the bus, which has what other nodes may have sent it, does not answer.
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
    /// The progress of the client is not known, and the history is told not to guess (`History::unproven`,
    /// `History::own_past_only`).
    Unproven,
}

impl Recovery {
    /// Returns `true` if the client gets everything that it missed.
    pub fn is_complete(&self) -> bool {
        matches!(self, Recovery::Resumed { .. })
    }

    /// The outcome if something else takes the place of what the client missed.
    pub(in crate::channel) fn replaced(self) -> Recovery {
        match self {
            Recovery::Resumed { .. } => Recovery::New,
            Recovery::New | Recovery::Gap(_) => self,
        }
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
            GapReason::Unproven => "unproven",
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
        let rules = ResumeRules::default();
        let choose =
            |brought, last| ResumeRequest::choose(brought, last, session, Some(EPOCH), rules).expect("a session");
        assert_eq!(choose(Some(Resume::From(at(7))), Some(at(5))), Resume::From(at(7)).into());
        assert_eq!(choose(Some(Resume::FromNothing), Some(at(5))), Resume::FromNothing.into());
        let request = |resume| ResumeRequest::from(Resume::From(resume));
        let exact = ResumeRequest { sent: Some(5), ..request(at(5)) };
        assert_eq!(choose(None, Some(at(5))), exact);
        let proven = ResumeRequest { sent: Some(9), ..request(at(3)) };
        let elsewhere = Position { epoch: Epoch::new(2), offset: 5 };
        assert_eq!((choose(None, None), choose(None, Some(elsewhere))), (proven, proven));
        assert_eq!(ResumeRequest::choose(None, Some(elsewhere), None, Some(EPOCH), rules), None);
    }

    #[test]
    fn only_the_own_past_is_resumed_if_the_history_says_so() {
        let rules = ResumeRules { own_past_only: true, ..ResumeRules::default() };
        let session = Some(Progress { epoch: EPOCH, proven: 3, sent: 9 });
        let choose = |brought: Option<u64>, last: Option<u64>, session| {
            let brought = brought.map(|offset| Resume::From(at(offset)));
            ResumeRequest::choose(brought, last.map(at), session, Some(EPOCH), rules)
                .map(|request| (request.resume, request.gap))
        };
        for (offset, own) in [(0, 3), (3, 3), (5, 5), (9, 9), (99, 9)] {
            assert_eq!(choose(Some(offset), None, session), Some((Resume::From(at(own)), None)));
            assert_eq!(choose(None, Some(offset), session), Some((Resume::From(at(own)), None)));
        }
        let refused = Some((Resume::From(at(5)), Some(GapReason::Unproven)));
        let elsewhere = Some(Progress { epoch: Epoch::new(2), proven: 3, sent: 9 });
        assert_eq!((choose(Some(5), None, None), choose(Some(5), None, elsewhere)), (refused, refused));
        assert_eq!(choose(None, Some(5), None), None);
    }

    #[test]
    fn what_may_have_arrived_is_passed_over_if_the_history_says_so() {
        let rules = ResumeRules { unproven: Unproven::Skip, ..ResumeRules::default() };
        for (proven, sent) in [(3, 9), (9, 9), (9, 3)] {
            let session = Some(Progress { epoch: EPOCH, proven, sent });
            let request = ResumeRequest::choose(None, None, session, None, rules).expect("a session");
            assert_eq!(request.resume, Resume::From(at(9)));
        }
    }
}
