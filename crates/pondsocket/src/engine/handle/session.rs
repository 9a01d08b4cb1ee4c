//! The session of a connection: what its client is proven to have received, and whether it may come back.

use std::borrow::Cow;

use bytes::Bytes;
use pondsocket_proto::channel::{DropPolicy, Proof, Run};
use pondsocket_proto::id::UserId;
use pondsocket_proto::position::Position;
use tokio::time::Instant;

use super::ConnectionHandle;
use crate::engine::closing::{Close, Closure};
use crate::engine::framing::Framing;
use crate::engine::outbox::{Bounds, Outbox, Pushed, Source};
use crate::engine::sessions::{ConnectionSession, SessionConnection};
use crate::metrics::CloseReason;

impl ConnectionHandle {
    /// Changes what the client of a session is known to have received. `None` without a session.
    pub(crate) fn with_proof<T>(&self, change: impl FnOnce(&mut Proof) -> T) -> Option<T> {
        let session = self.session.as_ref()?;
        Some(change(&mut session.proof.lock()))
    }

    /// Returns `true` if another connection can be one of the same user: a generated id is that of the connection, which only a
    /// session gives back.
    pub(crate) fn has_lasting_user(&self) -> bool {
        self.session.is_some() || *self.user() != UserId::from(self.id())
    }

    /// Returns `true` if the client may come back as the same user, so that its memberships wait for it (`Lobby::presence_grace`).
    /// `is_lost` tells of an event stream whose client has gone without a request.
    pub(crate) fn may_come_back(&self, is_lost: bool) -> bool {
        if !self.has_lasting_user() {
            return false;
        }
        match self.outbox.lock().close_reason() {
            // No reason: the socket has failed in a delivery, or the task of the connection was dropped.
            None => true,
            Some((CloseReason::Client | CloseReason::Server, code)) => is_lost || matches!(code, 1001 | 1012 | 1013),
            Some((CloseReason::Protocol | CloseReason::RateLimit, _)) => false,
            Some((
                CloseReason::Lost
                | CloseReason::Shutdown
                | CloseReason::TooSlow
                | CloseReason::TooManyMessages
                | CloseReason::Memory
                | CloseReason::Silent
                | CloseReason::Stalled
                | CloseReason::Superseded
                | CloseReason::Gap,
                _,
            )) => true,
        }
    }

    /// The shortest time between two pings whose answers prove what the client has received, in milliseconds. `None` without a
    /// session, if the answers may be those of a proxy, and for an event stream, whose client answers nothing. What the host has
    /// taken proves nothing either: it and the kernel hold megabytes.
    pub(super) fn proof_interval(&self) -> Option<u64> {
        let answers = !matches!(self.framing, Framing::Events { .. });
        self.session.as_ref().filter(|_| answers)?.proof_interval()
    }

    /// Returns `true` if the client has received everything that was sent to it: it has answered a close frame that stood
    /// behind all messages.
    pub(crate) fn has_received_all(&self) -> bool {
        if self.proof_interval().is_none() {
            return false;
        }
        let reason = self.outbox.lock().close_reason();
        matches!(reason, Some((CloseReason::Server | CloseReason::Shutdown, _)))
            && self.with_proof(|proof| !proof.has_lost()).unwrap_or(false)
    }

    /// Notes the answer to a numbered ping.
    pub(crate) fn receive_pong(&self, payload: &[u8]) {
        if let (Some(session), Ok(number)) = (&self.session, payload.try_into().map(u32::from_be_bytes)) {
            self.with_proof(|proof| proof.pong(number));
            session.note_answer();
        }
    }

    /// Delivers to the client of a session: with a ping in the same write, if one is due.
    pub(super) fn deliver_proven(
        &self,
        outbox: &mut Outbox,
        bounds: Bounds,
        (source, position): (Source<'_>, Position),
        runs: &[Run<Bytes>],
        session: &ConnectionSession,
    ) -> Result<Pushed, Closure> {
        let mut proof = session.proof.lock();
        let now = session.now();
        let due = self.proof_interval().and_then(|interval| proof.due_ping(position, now, interval));
        let ping = due.and_then(|number| self.framing.numbered_ping(number)).map(|ping| {
            let buffer = Bytes::from(ping);
            Run { range: 0..buffer.len(), buffer, frames: 1, drop_policy: DropPolicy::Never, kept: None }
        });
        let pushed = match &ping {
            // In one write: a write costs more than all else that a ping takes.
            Some(ping) => outbox.deliver(source, &[runs, std::slice::from_ref(ping)].concat(), bounds, Instant::now),
            None => outbox.deliver(source, runs, bounds, Instant::now),
        }?;
        if pushed.accepted {
            proof.sent(position);
            if ping.is_some() {
                proof.force_ping(now);
            }
        }
        Ok(pushed)
    }
}

/// The client has connected again (docs/protocol.md, Close codes).
const SUPERSEDED: Closure = Closure { code: 1008, text: Cow::Borrowed("superseded"), reason: CloseReason::Superseded };

impl SessionConnection for ConnectionHandle {
    fn is_open(&self) -> bool {
        ConnectionHandle::is_open(self)
    }

    fn user(&self) -> &UserId {
        ConnectionHandle::user(self)
    }

    fn session(&self) -> Option<&ConnectionSession> {
        self.session.as_deref()
    }

    fn probe(&self) -> Option<u32> {
        self.proof_interval()?;
        let now = self.session.as_ref().map_or(0, |session| session.now());
        let number = self.with_proof(|proof| proof.force_ping(now)).unwrap_or(0);
        if let Some(ping) = self.framing.numbered_ping(number) {
            self.send_control(ping);
        }
        Some(number)
    }

    fn has_answered(&self, number: u32) -> bool {
        self.with_proof(|proof| proof.has_answered(number)).unwrap_or(false)
    }

    fn supersede(&self) {
        self.close(Close::Graceful(SUPERSEDED));
    }
}
