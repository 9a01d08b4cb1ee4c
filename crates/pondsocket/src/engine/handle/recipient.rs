//! A connection as a recipient of a channel's deliveries.

use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use pondsocket_proto::channel::{HistoryGap, Run};
use pondsocket_proto::id::ConnectionId;
use pondsocket_proto::position::Position;
use tokio::time::Instant;

use super::ConnectionHandle;
use crate::engine::framing::Framing;
use crate::engine::live::{Reached, Recipient};
use crate::engine::outbox::{Pushed, RoomWait, Source};
use crate::metrics::Limit;

impl Recipient for Arc<ConnectionHandle> {
    fn framing(&self) -> Framing {
        self.framing
    }

    fn connection(&self) -> ConnectionId {
        self.id()
    }

    fn deliver(&self, source: Source<'_>, position: Option<Position>, runs: &[Run<Bytes>]) -> Reached {
        let effects = self.push(|outbox, bounds| match (position, &self.session) {
            (Some(position), Some(session)) => self.deliver_proven(outbox, bounds, (source, position), runs, session),
            (None, Some(session)) => {
                let pushed = outbox.deliver(source, runs, bounds, Instant::now)?;
                if pushed.accepted {
                    session.note_late(runs);
                }
                Ok(pushed)
            }
            _ => outbox.deliver(source, runs, bounds, Instant::now),
        });
        let is_behind = matches!(effects.pushed, Ok(Pushed { behind: true, .. }));
        let messages = runs.iter().map(|run| run.frames as usize).sum();
        let bytes = runs.iter().map(|run| run.range.len()).sum();
        self.apply(effects, messages, bytes);
        if is_behind { Reached::Behind } else { Reached::Done }
    }

    fn lose(&self, source: Source<'_>, gap: HistoryGap) {
        let effects = self.push(|outbox, _| Ok(outbox.leave_gap(source, gap)));
        self.apply(effects, 0, 0);
    }

    fn reach(&self, position: Position) {
        self.with_proof(|proof| proof.sent(position));
    }

    fn wait(&self, waker: &Waker, until: Instant) -> RoomWait {
        let mut outbox = self.outbox.lock();
        let was_left_behind = outbox.is_left_behind();
        let wait = outbox.wait(waker, self.limits.bounds, until, Instant::now());
        let is_news = outbox.is_left_behind() && !was_left_behind;
        let task = outbox.waker.clone().filter(|_| is_news);
        drop(outbox);
        // The connection's task has an earlier deadline now, which bytes that the client takes do not move any more.
        task.into_iter().for_each(Waker::wake);
        if is_news {
            self.reached(Limit::Pacing);
        }
        wait
    }

    fn send(&self, text: &[u8]) -> impl FnOnce() {
        self.queue_text(text)
    }

    fn expect_flush_marker(&self) {
        ConnectionHandle::expect_flush_marker(self);
    }

    fn receive_flush_marker(&self) {
        ConnectionHandle::receive_flush_marker(self);
    }
}
