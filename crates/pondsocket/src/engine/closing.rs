//! The states of a connection until its end, and the events that change them.
//!
//! ```text
//!        close(Graceful)           the last flush marker
//!  Open -----------------> Flushing ------------------> Closing --(all is sent, the peer has closed)---.
//!   |                         |                          ^   |                                         |
//!   |-------------------------+--close(Immediate|Answer)-'   '--close(Violation)--.                    |
//!   |                         |                                                   v                    |
//!   |-------------------------+--close(Violation)--------------------------> Refusing                  |
//!   |                         |                                                   | (all is sent)      |
//!   |                         |                                                   v                    |
//!   |                         |                                              Lingering --(the peer)----|
//!   |                         |                                                                        v
//!   '-------------------------'--(a delivery finds the socket broken)--> Failed --------------------> Closed
//!
//!  any --(end of the transport, failure, deadline, abort)-------------------------------------------> Closed
//! ```
//!
//! | state | messages for the client | messages of the client | the connection's task |
//! |---|---|---|---|
//! | `Open` | queued | handled | reads, runs handlers, writes |
//! | `Flushing` | queued | dropped | has left its channels; each sends a flush marker behind its last message |
//! | `Closing` | dropped | dropped | writes the queue, which ends with a close frame, and waits for the peer's |
//! | `Refusing` | dropped | dropped | the same for a peer that broke the protocol, of which no close frame is expected |
//! | `Lingering` | dropped | dropped | has shut down its side, and reads until the peer does so or `write_wait` is over |
//! | `Failed` | dropped | dropped | is about to close the transport |
//! | `Closed` | dropped | not read | runs handlers of messages that were received before, and ends |
//!
//! The state is part of the outbox, and so behind its lock: deliveries, the application and the connection's task change
//! it. Only the task acts on it, and copies it ([`ConnectionState`]) at fixed points of each turn. States never go back, so
//! a copy can be old but not wrong: each event wakes the task, which sees it in the next turn.
//!
//! An event stream goes through the same states, without close frames: its body simply ends.

use std::borrow::Cow;

use crate::engine::framing::Framing;
use crate::metrics::CloseReason;

/// The reason of a connection's end: the close code, a text for the peer, and a reason for the operator.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Closure {
    pub(crate) code: u16,
    pub(crate) text: Cow<'static, str>,
    pub(crate) reason: CloseReason,
}

/// The client does not keep up (docs/protocol.md, Close codes).
pub(crate) const TOO_SLOW: Closure =
    Closure { code: 1013, text: Cow::Borrowed("too slow"), reason: CloseReason::TooSlow };

/// A way to end a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Close {
    /// Memberships end first. The close frame follows the messages that its channels have for it.
    Graceful(Closure),
    /// A close frame replaces the queue, which the client does not read anyway.
    Immediate(Closure),
    /// The peer has sent a close frame, which is answered behind the queue (RFC 6455 section 5.5.1).
    Answer(Closure),
    /// The peer broke the protocol. A close frame behind the queue names the violation. Then the peer is read on for a while,
    /// because unread bytes would make the kernel reset the connection, and the peer might lose that frame.
    Violation(Closure),
    /// No close frame, and running handlers are dropped: the end of a shutdown.
    Abort,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Open,
    Flushing,
    Closing,
    Refusing,
    Lingering,
    Failed,
    Closed,
}

/// A copy of the state, for decisions of the connection's task.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ConnectionState {
    stage: Stage,
    is_aborted: bool,
}

/// The consequence of an event for the outbox.
#[must_use]
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Effect {
    None,
    /// The connection's task has to be woken.
    Wake,
    /// This frame, if the framing has one, is the last one: in place of the queue if `instead`, otherwise behind it.
    Finish {
        frame: Option<Vec<u8>>,
        instead: bool,
        wake: bool,
    },
}

/// The state of one connection, the reason of its end, and the flush markers that precede its close frame.
#[derive(Debug)]
pub(super) struct Lifecycle {
    /// The reason of its end. The first one counts, unless the client is then too slow even for a graceful end. Boxed, because
    /// an open connection has none.
    closure: Option<Box<Closure>>,
    /// The number of flush markers that precede the close frame of a graceful end: one of the connection's task, and one of
    /// each channel that the connection has left or that has an answer for it.
    flush_markers: u32,
    stage: Stage,
    /// True if the connection's task has to drop its handlers. Not a state, because handlers run in `Closed`, too.
    is_aborted: bool,
}

impl Lifecycle {
    pub(super) fn new() -> Lifecycle {
        Lifecycle { closure: None, flush_markers: 1, stage: Stage::Open, is_aborted: false }
    }

    pub(super) fn state(&self) -> ConnectionState {
        ConnectionState { stage: self.stage, is_aborted: self.is_aborted }
    }

    /// The reason of the connection's end and its code, once they are known.
    pub(super) fn reason(&self) -> Option<(CloseReason, u16)> {
        self.closure.as_ref().map(|closure| (closure.reason, closure.code))
    }

    /// Ends the connection, if nothing has ended it before.
    pub(super) fn close(&mut self, close: Close, framing: Framing) -> Effect {
        match close {
            Close::Graceful(closure) => self.close_gracefully(closure),
            Close::Immediate(closure) => self.close_immediately(closure, framing),
            Close::Answer(closure) => self.answer_close(closure, framing),
            Close::Violation(closure) => self.refuse(closure, framing),
            Close::Abort => {
                self.is_aborted = true;
                Effect::Wake
            }
        }
    }

    fn close_gracefully(&mut self, closure: Closure) -> Effect {
        match self.stage {
            Stage::Open => {
                self.stage = Stage::Flushing;
                self.note(closure);
                Effect::Wake
            }
            _ => Effect::None,
        }
    }

    fn close_immediately(&mut self, closure: Closure, framing: Framing) -> Effect {
        match self.stage {
            Stage::Open | Stage::Flushing => {
                self.stage = Stage::Closing;
                let frame = framing.close(closure.code, &closure.text);
                // Replaces the reason of a graceful end, because the peer gets this one.
                self.closure = Some(Box::new(closure));
                Effect::Finish { frame, instead: true, wake: true }
            }
            _ => Effect::None,
        }
    }

    fn answer_close(&mut self, closure: Closure, framing: Framing) -> Effect {
        let frame = framing.close_answer(closure.code);
        self.note(closure);
        match self.stage {
            Stage::Open | Stage::Flushing => {
                self.stage = Stage::Closing;
                // No wake: the connection's task itself has read the peer's close frame.
                Effect::Finish { frame, instead: false, wake: false }
            }
            // A close frame was sent before, so the peer's is the answer to that.
            _ => Effect::None,
        }
    }

    fn refuse(&mut self, closure: Closure, framing: Framing) -> Effect {
        let frame = framing.close(closure.code, &closure.text);
        self.note(closure);
        match self.stage {
            Stage::Open | Stage::Flushing => {
                self.stage = Stage::Refusing;
                Effect::Finish { frame, instead: false, wake: false }
            }
            Stage::Closing => {
                // Only one close frame is sent (RFC 6455 section 5.5.1), but no answer to it is expected any more.
                self.stage = Stage::Refusing;
                Effect::None
            }
            _ => Effect::None,
        }
    }

    /// Notes that a channel which the connection has left will send a flush marker.
    pub(super) fn expect_flush_marker(&mut self) {
        self.flush_markers += 1;
    }

    /// Notes a flush marker: a channel, or the connection's task, has no more messages for this connection. The close frame
    /// follows the last one.
    pub(super) fn receive_flush_marker(&mut self, framing: Framing) -> Effect {
        self.flush_markers -= 1;
        match (self.stage, &self.closure) {
            (Stage::Flushing, Some(closure)) if self.flush_markers == 0 => {
                self.stage = Stage::Closing;
                Effect::Finish { frame: framing.close(closure.code, &closure.text), instead: false, wake: true }
            }
            _ => Effect::None,
        }
    }

    /// Notes that the socket has failed during a delivery, which cannot close it.
    pub(super) fn fail(&mut self) {
        if matches!(self.stage, Stage::Open | Stage::Flushing) {
            self.stage = Stage::Failed;
        }
    }

    /// Notes that all frames are written. Returns `true` if the peer broke the protocol, so that the server's side has to be
    /// shut down.
    pub(super) fn linger(&mut self) -> bool {
        let refuses = self.stage == Stage::Refusing;
        if refuses {
            self.stage = Stage::Lingering;
        }
        refuses
    }

    /// Notes that the connection's task closes the transport. Returns the closure that counts at the first call: an earlier
    /// one, or this.
    pub(super) fn disconnect(&mut self, closure: Closure) -> Option<Closure> {
        if self.stage == Stage::Closed {
            return None;
        }
        self.stage = Stage::Closed;
        Some(Closure::clone(self.note(closure)))
    }

    fn note(&mut self, closure: Closure) -> &Closure {
        self.closure.get_or_insert_with(|| Box::new(closure))
    }
}

impl ConnectionState {
    /// Returns `true` if the client's messages are handled.
    pub(crate) fn is_open(self) -> bool {
        self.stage == Stage::Open
    }

    /// Returns `true` if messages for the client are queued.
    pub(crate) fn accepts_frames(self) -> bool {
        matches!(self.stage, Stage::Open | Stage::Flushing)
    }

    /// Returns whether the connection's channels have to send flush markers.
    pub(crate) fn awaits_flush_markers(self) -> bool {
        self.stage == Stage::Flushing
    }

    /// Returns whether the peer's close frame is awaited once all frames are written.
    pub(crate) fn awaits_peer_close(self) -> bool {
        self.stage == Stage::Closing
    }

    /// Returns whether the server's side has to be shut down once all frames are written.
    pub(crate) fn refuses_peer(self) -> bool {
        self.stage == Stage::Refusing
    }

    /// Returns whether the socket has failed during a delivery.
    pub(crate) fn has_failed(self) -> bool {
        self.stage == Stage::Failed
    }

    /// Returns `true` if the transport is closed.
    pub(crate) fn is_closed(self) -> bool {
        self.stage == Stage::Closed
    }

    /// Returns whether the handlers of the connection have to be dropped.
    pub(crate) fn is_aborted(self) -> bool {
        self.is_aborted
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STAGES: [Stage; 7] =
        [Stage::Open, Stage::Flushing, Stage::Closing, Stage::Refusing, Stage::Lingering, Stage::Failed, Stage::Closed];

    const FRAMING: Framing = Framing::Plain;

    /// Everything that can happen to a connection.
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    enum Event {
        Graceful,
        Immediate,
        Answer,
        Violation,
        Abort,
        FlushMarker,
        Fail,
        AllSent,
        Disconnect,
    }

    const EVENTS: [Event; 9] = [
        Event::Graceful,
        Event::Immediate,
        Event::Answer,
        Event::Violation,
        Event::Abort,
        Event::FlushMarker,
        Event::Fail,
        Event::AllSent,
        Event::Disconnect,
    ];

    /// A reason that tells its event.
    fn closure(event: Event) -> Closure {
        let (code, reason) = match event {
            Event::Graceful => (1001, CloseReason::Shutdown),
            Event::Immediate => (1013, CloseReason::TooSlow),
            Event::Answer => (4000, CloseReason::Client),
            Event::Violation => (1002, CloseReason::Protocol),
            _ => (1006, CloseReason::Lost),
        };
        Closure { code, text: "".into(), reason }
    }

    fn apply(lifecycle: &mut Lifecycle, event: Event) -> Effect {
        let close = match event {
            Event::Graceful => Close::Graceful(closure(event)),
            Event::Immediate => Close::Immediate(closure(event)),
            Event::Answer => Close::Answer(closure(event)),
            Event::Violation => Close::Violation(closure(event)),
            Event::Abort => Close::Abort,
            Event::FlushMarker => return lifecycle.receive_flush_marker(FRAMING),
            Event::Fail => {
                lifecycle.fail();
                return Effect::None;
            }
            Event::AllSent => {
                lifecycle.linger();
                return Effect::None;
            }
            Event::Disconnect => {
                lifecycle.disconnect(closure(event));
                return Effect::None;
            }
        };
        lifecycle.close(close, FRAMING)
    }

    /// A connection in this state, for which one flush marker is missing.
    fn in_stage(stage: Stage) -> Lifecycle {
        let closure = (stage != Stage::Open).then(|| Box::new(closure(Event::Graceful)));
        Lifecycle { stage, closure, ..Lifecycle::new() }
    }

    /// The drawing, as a table: the state that each event leads to.
    fn next(stage: Stage, event: Event) -> Stage {
        match (stage, event) {
            (Stage::Open, Event::Graceful) => Stage::Flushing,
            (Stage::Open | Stage::Flushing, Event::Immediate | Event::Answer) => Stage::Closing,
            (Stage::Flushing, Event::FlushMarker) => Stage::Closing,
            (Stage::Open | Stage::Flushing | Stage::Closing, Event::Violation) => Stage::Refusing,
            (Stage::Open | Stage::Flushing, Event::Fail) => Stage::Failed,
            (Stage::Refusing, Event::AllSent) => Stage::Lingering,
            (_, Event::Disconnect) => Stage::Closed,
            (stage, _) => stage,
        }
    }

    #[test]
    fn each_event_leads_from_each_stage_to_the_one_that_is_drawn() {
        for (stage, event) in STAGES.iter().flat_map(|stage| EVENTS.map(|event| (*stage, event))) {
            let mut lifecycle = in_stage(stage);
            let effect = apply(&mut lifecycle, event);
            assert_eq!(lifecycle.stage, next(stage, event), "{stage:?}, {event:?}");
            let stopped_accepting = matches!(stage, Stage::Open | Stage::Flushing)
                && matches!(lifecycle.stage, Stage::Closing | Stage::Refusing);
            assert_eq!(matches!(effect, Effect::Finish { .. }), stopped_accepting, "{stage:?}, {event:?}: {effect:?}");
            assert_eq!(lifecycle.is_aborted, event == Event::Abort, "{stage:?}, {event:?}");
        }
    }

    #[test]
    fn the_close_frame_is_that_of_the_event_and_an_answer_repeats_the_code() {
        let finish = |code, instead, wake| Effect::Finish { frame: FRAMING.close(code, ""), instead, wake };
        assert_eq!(apply(&mut in_stage(Stage::Open), Event::Immediate), finish(1013, true, true));
        assert_eq!(apply(&mut in_stage(Stage::Open), Event::Answer), finish(4000, false, false));
        assert_eq!(apply(&mut in_stage(Stage::Open), Event::Violation), finish(1002, false, false));
        assert_eq!(apply(&mut in_stage(Stage::Flushing), Event::FlushMarker), finish(1001, false, true));
        assert_eq!(apply(&mut in_stage(Stage::Open), Event::Graceful), Effect::Wake);
        let empty = Closure { code: 1005, ..closure(Event::Answer) };
        let answered = in_stage(Stage::Open).close(Close::Answer(empty), FRAMING);
        assert_eq!(answered, Effect::Finish { frame: Some(vec![0x88, 0]), instead: false, wake: false });
    }

    #[test]
    fn only_the_last_of_all_flush_markers_closes() {
        let mut lifecycle = in_stage(Stage::Flushing);
        lifecycle.expect_flush_marker();
        lifecycle.expect_flush_marker();
        assert_eq!([(); 2].map(|()| apply(&mut lifecycle, Event::FlushMarker)), [Effect::None, Effect::None]);
        assert!(matches!(apply(&mut lifecycle, Event::FlushMarker), Effect::Finish { .. }));
    }

    #[test]
    fn the_first_reason_counts_but_for_a_client_that_is_too_slow_for_its_graceful_end() {
        let reason = |events: &[Event]| {
            let mut lifecycle = Lifecycle::new();
            events.iter().for_each(|event| drop(apply(&mut lifecycle, *event)));
            lifecycle.disconnect(closure(Event::Disconnect)).map(|closure| closure.reason)
        };
        assert_eq!(reason(&[]), Some(CloseReason::Lost));
        assert_eq!(reason(&[Event::Graceful, Event::Answer]), Some(CloseReason::Shutdown));
        assert_eq!(reason(&[Event::Answer, Event::Graceful]), Some(CloseReason::Client));
        assert_eq!(reason(&[Event::Graceful, Event::Immediate]), Some(CloseReason::TooSlow));
        assert_eq!(reason(&[Event::Violation, Event::Immediate]), Some(CloseReason::Protocol));
        assert_eq!(reason(&[Event::Fail, Event::Answer]), Some(CloseReason::Client), "it had closed before");
        assert_eq!(reason(&[Event::Disconnect]), None, "it is told once");
    }

    proptest! {
        /// Events in any order: there is one last frame at most, and nothing is accepted behind it; no state is entered
        /// again once it was left; and the end is reported once, with a reason.
        #[test]
        fn a_connection_ends_once(events in prop::collection::vec(prop::sample::select(&EVENTS[..]), 0..20)) {
            let (mut lifecycle, mut last_frames, mut left) = (Lifecycle::new(), 0, Vec::new());
            for event in events {
                let before = lifecycle.stage;
                // Each marker that comes was announced.
                if event == Event::FlushMarker && lifecycle.flush_markers == 0 {
                    lifecycle.expect_flush_marker();
                }
                last_frames += usize::from(matches!(apply(&mut lifecycle, event), Effect::Finish { .. }));
                if lifecycle.stage != before {
                    left.push(before);
                }
                prop_assert!(!left.contains(&lifecycle.stage));
                prop_assert!(last_frames <= 1);
                prop_assert!(last_frames == 0 || !lifecycle.state().accepts_frames());
                prop_assert!(lifecycle.state().is_open() || lifecycle.stage == Stage::Failed || lifecycle.closure.is_some());
            }
            let was_closed = lifecycle.stage == Stage::Closed;
            prop_assert_eq!(lifecycle.disconnect(closure(Event::Disconnect)).is_some(), !was_closed);
            prop_assert_eq!(lifecycle.disconnect(closure(Event::Disconnect)), None);
        }
    }
}
