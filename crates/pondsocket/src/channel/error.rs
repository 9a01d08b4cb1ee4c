//! The failures of operations on the members of a channel.

use pondsocket_proto::channel::NotMember;

use crate::error::Error;
use crate::limits::stored::{NoRoom, TooLarge};

/// The failure of an operation on a member of this node. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum MemberError {
    NotMember,
    TooLarge(TooLarge),
    NoRoom(NoRoom),
}

impl From<NotMember> for MemberError {
    fn from(NotMember: NotMember) -> MemberError {
        MemberError::NotMember
    }
}

impl From<TooLarge> for MemberError {
    fn from(error: TooLarge) -> MemberError {
        MemberError::TooLarge(error)
    }
}

#[diagnostic::do_not_recommend]
impl From<MemberError> for Error {
    fn from(error: MemberError) -> Error {
        match error {
            MemberError::NotMember => Error::not_found("no such member"),
            MemberError::TooLarge(error) => error.into(),
            MemberError::NoRoom(reason) => reason.into(),
        }
    }
}

/// The failure to track a member of this node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum TrackError {
    AlreadyTracked,
    Member(MemberError),
}

impl From<MemberError> for TrackError {
    fn from(error: MemberError) -> TrackError {
        TrackError::Member(error)
    }
}

impl From<NotMember> for TrackError {
    fn from(error: NotMember) -> TrackError {
        TrackError::Member(error.into())
    }
}

#[diagnostic::do_not_recommend]
impl From<TrackError> for Error {
    fn from(error: TrackError) -> Error {
        match error {
            TrackError::AlreadyTracked => Error::conflict("tracked already"),
            TrackError::Member(error) => error.into(),
        }
    }
}

/// The failure of an operation on a member of any node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RemoteChangeError {
    /// The outcome on this node. No other node has to be asked, or none of them has the user.
    Here(MemberError),
    /// A limit of the node that has the user forbids the change.
    Refused,
    BusDown,
    /// A node that may have the user has not confirmed the change, which may have been made.
    Unconfirmed,
}

#[diagnostic::do_not_recommend]
impl From<RemoteChangeError> for Error {
    fn from(error: RemoteChangeError) -> Error {
        match error {
            RemoteChangeError::Here(error) => error.into(),
            RemoteChangeError::Refused => Error::too_large("a limit of the user's node forbids it"),
            RemoteChangeError::BusDown => Error::unavailable("the bus is down: other nodes are not notified"),
            RemoteChangeError::Unconfirmed => Error::timeout("another node did not confirm it"),
        }
    }
}

/// The failure to find a member on any node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LookupError {
    NotMember,
    BusDown,
    /// A node that may have the user has not answered.
    Unanswered,
}

#[diagnostic::do_not_recommend]
impl From<LookupError> for Error {
    fn from(error: LookupError) -> Error {
        match error {
            LookupError::NotMember => MemberError::NotMember.into(),
            LookupError::BusDown => Error::unavailable("the bus is down: other nodes cannot be queried"),
            LookupError::Unanswered => Error::timeout("another node did not answer"),
        }
    }
}
