//! The messages that a connection gets later, because its outbox had no room for them: they are read from the history once
//! everything ahead of them is written. If they are not kept any more, there is a gap, and the client is told.

use std::borrow::Cow;
use std::sync::Arc;
use std::task::{Context, Poll};

use pondsocket_proto::channel::{DropPolicy, GapReason, Proof};
use pondsocket_proto::id::RequestId;
use pondsocket_proto::position::Position;
use pondsocket_proto::wire::server;
use tokio::time::Instant;

use super::running::{GapStage, PendingGap};
use super::session::Session;
use crate::context::{GapContext, GapMessages};
use crate::endpoint::Live;
use crate::engine::closing::{Close, Closure};
use crate::engine::ids;
use crate::engine::outbox::{CaughtUp, Hole};
use crate::engine::sync::Mutex;
use crate::error::Error;
use crate::failure::{Around, backtrace, chain};
use crate::handler::guard::{self, TimedOut};
use crate::metrics::{CloseReason, Component, HandlerKind};

impl Session {
    /// Fills the hole at the front of the outbox. Returns `false` if it stays, because the application is to say what takes
    /// its place, or the connection is about to end.
    pub(super) fn fill(&mut self, hole: &Hole, cx: &mut Context<'_>, now: Instant) -> bool {
        if let Some(gap) = self.gap.take() {
            return self.settle_gap(*gap, cx, now);
        }
        let live = self.endpoint.hub.get(hole.name.as_str()).filter(|live| live.serial == hole.serial);
        let limits = self.handle.catch_up_limits();
        let filling = match &live {
            Some(live) => live.catch_up(&self.handle, self.handle.user(), hole, limits),
            // Nobody is in the channel, and nothing of it is kept.
            None => Err(GapReason::Expired),
        };
        match filling {
            Ok(filling) => {
                if filling.is_partial {
                    // Outgoing handlers decide for members only.
                    self.lose_as_departed();
                }
                self.handle.fill(hole, filling.up_to, &filling.messages);
                let (channel, messages) = (hole.name.as_str(), filling.messages.len());
                let (connection, user) = (self.handle.id(), self.handle.user());
                tracing::debug!(target: "pondsocket::channel", %connection, %user, channel, messages, "caught up");
                self.handle.count(|metrics, me| metrics.channel_caught_up(me, channel, messages));
                true
            }
            Err(reason) => self.find_gap(hole, live, reason, cx, now),
        }
    }

    fn find_gap(
        &mut self,
        hole: &Hole,
        live: Option<Arc<Live>>,
        reason: GapReason,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> bool {
        let is_open = self.handle.is_open();
        let member = live.filter(|live| is_open && live.has_connection(self.handle.user(), self.handle.id()));
        let (connection, user, channel) = (self.handle.id(), self.handle.user(), hole.name.as_str());
        let Some(live) = member else {
            // The client has left the channel, and is not told.
            tracing::debug!(target: "pondsocket::channel", %connection, %user, channel, %reason, "gap behind the last message");
            self.lose_as_departed();
            self.handle.fill(hole, hole.last, &[]);
            return true;
        };
        let position = hole.next.unwrap_or(Position { offset: hole.last, ..hole.first });
        tracing::debug!(target: "pondsocket::channel", %connection, %user, channel, %reason, %position, "gap");
        self.handle.count(|metrics, me| metrics.channel_gap(me, channel, reason));
        if self.subscriptions.find(channel).and_then(|id| self.subscriptions.get(id)).is_some_and(|own| own.resumes) {
            let mut text = Vec::new();
            let id = RequestId::from_u128(ids::fresh());
            server::resync(&mut text, channel, id.as_str(), position, reason.as_str());
            self.handle.fill(hole, hole.last, &[own_message(text)]);
            return true;
        }
        let sent: Arc<GapMessages> = Arc::new(Mutex::new(Some(Vec::new())));
        let started = self.endpoint.observer.start();
        let ctx = GapContext {
            endpoint: Arc::clone(&self.endpoint),
            handle: Arc::clone(&self.handle),
            name: live.name.clone(),
            route: live.lobby.channel_route(&live.name),
            reason,
            position,
            sent: Arc::clone(&sent),
        };
        let (stage, until) = match live.lobby.gap(ctx) {
            Some(future) => (GapStage::Handling { future, sent, started }, now + self.options.handler_timeout),
            None => (GapStage::Ending, self.gap_ends_at(now)),
        };
        self.settle_gap(PendingGap { hole: hole.clone(), live, stage, until }, cx, now)
    }

    /// Goes on with a gap. Returns `false` if it is still not settled.
    fn settle_gap(&mut self, mut gap: PendingGap, cx: &mut Context<'_>, now: Instant) -> bool {
        if !self.handle.is_open() {
            // Nothing waits for the handler of a connection that ends. Its client resumes ahead of the gap.
            self.handle.with_proof(Proof::lose);
            self.handle.fill(&gap.hole, gap.hole.last, &[]);
            return true;
        }
        if let GapStage::Handling { future, sent, started } = &mut gap.stage {
            let outcome = match guard::poll(future, cx) {
                Poll::Pending if now < gap.until => {
                    self.gap = Some(Box::new(gap));
                    return false;
                }
                Poll::Pending => Err(TimedOut.into()),
                Poll::Ready(outcome) => outcome,
            };
            let sent = sent.lock().take().unwrap_or_default();
            self.endpoint.finish(HandlerKind::Gap, Some(&gap.live.lobby), *started, outcome.as_ref().err());
            match outcome {
                Ok(()) => {
                    let decide = |(event, text): (String, Vec<u8>)| {
                        gap.live.decide_reply(&self.handle, self.handle.user(), &event, text).map(own_message)
                    };
                    let messages: Vec<_> = sent.into_iter().filter_map(decide).collect();
                    if let (Some(next), Some(session)) = (gap.hole.next, &self.handle.session) {
                        // Once the client has these messages, what it is owed begins behind the gap.
                        session.skip(&gap.hole.name, next);
                    }
                    self.handle.fill(&gap.hole, gap.hole.last, &messages);
                    return true;
                }
                Err(error) => self.fail_gap(&gap, &error),
            }
            (gap.stage, gap.until) = (GapStage::Ending, self.gap_ends_at(now));
        }
        if now < gap.until {
            self.gap = Some(Box::new(gap));
            return false;
        }
        // Before the connection leaves its channels, and takes the positions for its session.
        self.handle.with_proof(Proof::lose);
        // Without what waits: it would seem to follow what the client has received.
        self.handle.close(Close::Immediate(GAP));
        true
    }

    /// Messages do not reach a client that has left their channel. If it has left because its connection ends, it is owed them:
    /// the next connection of its session resumes ahead of them.
    fn lose_as_departed(&self) {
        if !self.handle.is_open() {
            self.handle.with_proof(Proof::lose);
        }
    }

    fn gap_ends_at(&self, now: Instant) -> Instant {
        self.endpoint.common.histories.gap_ends_at(now)
    }

    fn fail_gap(&self, gap: &PendingGap, error: &Error) {
        let around = Around::now();
        tracing::error!(
            target: "pondsocket::handler",
            endpoint = around.missing("endpoint", &*self.endpoint.observer.endpoint),
            connection = around.missing("connection", display(self.handle.id())),
            user = around.missing("user", self.handle.user().as_str()),
            channel = around.missing("channel", gap.live.name.as_str()),
            pattern = gap.live.lobby.pattern.as_str(),
            call = error.call(),
            error = chain(error),
            backtrace = backtrace(error),
            "gap handler failed"
        );
        self.endpoint.observer.count(|metrics, _| metrics.error(Component::GapHandler, error));
    }
}

/// A message of the server's own, which is never dropped.
fn own_message(text: Vec<u8>) -> CaughtUp {
    CaughtUp { text, drop_policy: DropPolicy::Never, position: None }
}

/// The client is to join again (docs/protocol.md, Gaps).
pub(super) const GAP: Closure = Closure { code: 1012, text: Cow::Borrowed("gap"), reason: CloseReason::Gap };
