//! Outboxes, frames and events for the tests of this module.

use std::sync::LazyLock;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use pondsocket_proto::channel::{DropPolicy, Run, SlowClient};
use pondsocket_proto::id::ChannelName;
use pondsocket_proto::ws::{self, Opcode};
use proptest::prelude::*;
use tokio::time::Instant;

use super::{Bounds, Outbox, Pushed, Source, Writer};
use crate::engine::closing::Closure;
use crate::engine::framing::Framing;
use crate::engine::pace::PacingLimits;

pub(super) const PACING: PacingLimits = PacingLimits { wait: Duration::from_secs(2), rate: 1000 };
pub(super) const BOUNDS: Bounds = Bounds { frames: 4, bytes: 1000, policy: SlowClient::Disconnect, pacing: PACING };

pub(super) fn frame(text: &str) -> Bytes {
    let mut out = Vec::new();
    ws::encode(Opcode::Text, text.as_bytes(), &mut out);
    out.into()
}

/// The moment at which everything happens, where nothing else is said.
pub(super) static START: LazyLock<Instant> = LazyLock::new(Instant::now);

static NAME: LazyLock<ChannelName> = LazyLock::new(|| ChannelName::new("/c", 8).expect("valid"));

pub(super) fn source(serial: u64) -> Source<'static> {
    Source { name: &NAME, serial }
}

pub(super) fn start() -> Instant {
    *START
}

pub(super) fn outbox() -> Outbox {
    Outbox::new(Writer::Task, Framing::Plain, BOUNDS, start())
}

pub(super) fn send(outbox: &mut Outbox, frame: Bytes) -> Pushed {
    outbox.send(frame, BOUNDS, start)
}

pub(super) fn advance(outbox: &mut Outbox, written: usize) {
    outbox.advance(written, BOUNDS, start());
}

/// Delivers texts as one run.
pub(super) fn deliver(
    outbox: &mut Outbox,
    channel: u64,
    texts: &[&str],
    drop_policy: DropPolicy,
    policy: SlowClient,
) -> Pushed {
    let buffer: Bytes = texts.iter().flat_map(|text| frame(text)).collect::<Vec<_>>().into();
    let run = Run { range: 0..buffer.len(), buffer, frames: texts.len() as u32, drop_policy, kept: None };
    outbox.deliver(source(channel), &[run], Bounds { policy, ..BOUNDS }, start).expect("not given up")
}

pub(super) fn queued(outbox: &Outbox) -> Vec<u8> {
    outbox.queue.entries.iter().flat_map(|entry| entry.bytes.to_vec()).collect()
}

/// The texts of the whole frames that wait.
pub(super) fn texts(outbox: &Outbox) -> String {
    let bytes = queued(outbox);
    let mut rest = &bytes[outbox.queue.started..];
    let mut texts = Vec::new();
    while !rest.is_empty() {
        let len = Framing::Plain.frame_len(rest);
        texts.push(String::from_utf8(rest[2..len].to_vec()).expect("text"));
        rest = &rest[len..];
    }
    texts.join(" ")
}

/// Delivers one frame at this time.
pub(super) fn deliver_at(outbox: &mut Outbox, text: &str, now: Instant) -> Result<Pushed, Closure> {
    let buffer = frame(text);
    let run = Run { range: 0..buffer.len(), buffer, frames: 1, drop_policy: DropPolicy::SlowClient(None), kept: None };
    outbox.deliver(source(1), &[run], BOUNDS, || now)
}

pub(super) fn event(text: &str) -> Bytes {
    Framing::Events { ids: false }.frame(text.as_bytes()).into()
}

pub(super) fn outbox_of_a_body() -> Outbox {
    Outbox::new(Writer::Body(Box::default()), Framing::Events { ids: false }, BOUNDS, start())
}

/// The bytes that a body takes, and whether the connection's task is to look at what is left.
pub(super) fn take(outbox: &mut Outbox) -> (Poll<Option<Bytes>>, bool) {
    outbox.take(Waker::noop(), BOUNDS, start())
}

/// A step that changes an outbox.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Several frames of one channel arrive.
    Deliver { channel: u64, frames: usize, drop_policy: DropPolicy },
    /// An answer arrives.
    Send,
    /// The client takes this part, in thousandths, of the bytes that wait.
    Take(usize),
}

pub(super) fn any_step() -> impl Strategy<Value = Step> {
    let policy = prop_oneof![
        Just(None),
        Just(Some(SlowClient::Disconnect)),
        Just(Some(SlowClient::DropOldest)),
        Just(Some(SlowClient::DropNewest)),
    ];
    let drop_policy = prop_oneof![
        Just(DropPolicy::Never),
        Just(DropPolicy::Outdated),
        Just(DropPolicy::Partial),
        policy.prop_map(DropPolicy::SlowClient)
    ];
    prop_oneof![
        4 => (1..3u64, 1..5usize, drop_policy).prop_map(|(channel, frames, drop_policy)| Step::Deliver { channel, frames, drop_policy }),
        1 => Just(Step::Send),
        2 => (0..1000usize).prop_map(Step::Take),
    ]
}

/// The frames that a step delivers, with the numbers of what was sent, which are noted.
pub(super) fn numbered(
    sent: &mut Vec<(u64, DropPolicy)>,
    channel: u64,
    frames: usize,
    drop_policy: DropPolicy,
    framing: Framing,
) -> Run<Bytes> {
    let first = sent.len();
    sent.extend((0..frames).map(|_| (channel, drop_policy)));
    let bytes: Vec<u8> = (first..sent.len()).flat_map(|number| framing.frame(number.to_string().as_bytes())).collect();
    Run { range: 0..bytes.len(), buffer: bytes.into(), frames: frames as u32, drop_policy, kept: None }
}
