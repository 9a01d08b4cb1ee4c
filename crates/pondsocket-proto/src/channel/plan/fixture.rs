//! Batches and their frames as text, for tests.

use std::rc::Rc;

use super::{Class, Encoded, Run};
use crate::channel::batch::Op;
use crate::channel::{Audience, Batch, DeliveryPolicy, Seats, Slot};

pub(super) fn send(batch: &mut Batch<char>, to: Audience<char>, text: &str) {
    batch.send(to, DeliveryPolicy::BROADCAST, |out| out.extend_from_slice(text.as_bytes()));
}

pub(super) fn join(slot: u32, recipient: char) -> Op<char> {
    Op::Join { slot: Slot(slot), recipient }
}

pub(super) fn leave(slot: u32) -> Op<char> {
    Op::Leave { slot: Slot(slot), last: None }
}

pub(super) fn seat(slot: u32) -> Seats {
    Seats::One(Slot(slot))
}

/// Each message becomes one frame in brackets.
pub(super) fn framed(batch: &Batch<char>) -> Encoded<Rc<[u8]>> {
    let frame = |text: &[u8], out: &mut Vec<u8>| out.extend([b"<", text, b">"].concat());
    let mut encoded = Encoded::new(batch, frame, Rc::from, |_| true);
    encoded.add_presence(batch, frame, Rc::from);
    encoded
}

pub(super) fn text(run: &Run<Rc<[u8]>>) -> String {
    String::from_utf8(run.bytes().to_vec()).expect("text")
}

pub(super) fn whole(encoded: &Encoded<Rc<[u8]>>, class: Class) -> Vec<(String, u32)> {
    encoded.whole(class).iter().map(|run| (text(run), run.frames)).collect()
}
