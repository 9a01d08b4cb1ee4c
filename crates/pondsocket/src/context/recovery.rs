use std::sync::Arc;

use pondsocket_proto::channel::{GapReason, Recovery, ResumeRequest};
use pondsocket_proto::position::Position;
use pondsocket_proto::wire::Resume;

use crate::engine::history::HistoryHold;

/// The history of a channel that is being joined: what the client has missed, which stays until the join is decided.
#[derive(Debug)]
pub(crate) struct JoinHistory {
    pub(crate) resume: Option<ResumeRequest>,
    /// `None` if the channel was not open when the join began.
    pub(crate) hold: Option<HistoryHold>,
    /// The payload with which the handler runs again if it was told that the client gets everything, and that does not hold any more
    /// when it has accepted. `None` in its second run.
    pub(crate) again: Option<Arc<str>>,
}

impl JoinHistory {
    pub(crate) fn recovery(&self) -> Recovery {
        match (&self.hold, self.resume.map(|request| request.resume)) {
            (Some(hold), _) => hold.recovery,
            (None, None | Some(Resume::FromNothing)) => Recovery::New,
            (None, Some(Resume::From(_) | Resume::FromUnknown)) => Recovery::Gap(GapReason::Epoch),
        }
    }

    /// Returns `true` if the handler is told that the client gets everything, and the client itself is told nothing.
    pub(crate) fn is_promise(&self) -> bool {
        self.resume.is_some_and(|request| request.sent.is_some()) && self.recovery().is_complete()
    }

    pub(crate) fn position(&self) -> Option<Position> {
        self.hold.as_ref().and_then(HistoryHold::position)
    }
}
