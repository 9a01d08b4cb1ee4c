use std::ops::Range;

use super::batch::Op;
use super::{Audience, Batch, Reception, Recipients, Slot};

/// The shared part of a batch that a recipient gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// Broadcasts.
    All,
    /// Broadcasts and presence.
    Tracked,
}

impl Class {
    fn of<R>(reception: &Reception<R>) -> Class {
        if reception.tracked { Class::Tracked } else { Class::All }
    }
}

/// A run of frames that one recipient gets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Piece {
    /// What everybody of the class gets between two operations.
    Shared(Class, Range<u32>),
    /// The message of one operation, not meant for everybody.
    Private(u32),
}

/// A recipient whose part of the batch is its own: it joined, left, was answered or was left out.
#[derive(Debug)]
pub struct Private<R> {
    /// Where the frames go.
    pub to: R,
    /// What it gets, in order.
    pub pieces: Vec<Piece>,
}

impl<R> Private<R> {
    fn start(&self) -> u32 {
        match self.pieces.first() {
            Some(Piece::Shared(_, ops)) => ops.start,
            Some(Piece::Private(op)) => *op,
            None => 0,
        }
    }
}

/// Who gets what of one batch. Whoever is not in `private` gets everything of its class.
#[derive(Debug)]
pub struct Plan<R> {
    /// The recipients with a part of their own.
    pub private: Vec<Private<R>>,
    /// Their slots, sorted.
    marked: Vec<Slot>,
    shared: [bool; 2],
}

impl<R: Clone> Plan<R> {
    /// Works out the parts and brings `recipients` to the state after the batch. Costs O(operations + marks),
    /// however many recipients there are.
    pub fn new(batch: &Batch<R>, recipients: &mut Recipients<R>) -> Plan<R> {
        let mut plan = Plan { private: Vec::new(), marked: Vec::new(), shared: [false; 2] };
        let marks = plan.mark(batch);
        for of_slot in marks.chunk_by(|a, b| a.0 == b.0) {
            plan.walk(batch, of_slot, recipients);
            plan.marked.push(of_slot[0].0);
        }
        // A connection may be an outsider before its join or after its leave, within one batch: its parts follow
        // one another in the order of the operations.
        plan.private.sort_by_key(Private::start);
        plan
    }

    /// Whether anybody outside `private` gets something.
    pub fn visits(&self, class: Class) -> bool {
        self.shared[class as usize]
    }

    /// Whether the connection in `slot` has a part of its own.
    pub fn is_marked(&self, slot: Slot) -> bool {
        self.marked.binary_search(&slot).is_ok()
    }

    /// Every (slot, operation) at which a recipient's part differs from that of its class, by slot.
    fn mark(&mut self, batch: &Batch<R>) -> Vec<(Slot, u32)> {
        let mut marks = Vec::new();
        for (at, op) in (0u32..).zip(&batch.ops) {
            match op {
                Op::Join { slot, .. } | Op::Leave { slot } => marks.push((*slot, at)),
                Op::Track { seats, .. } => marks.extend(seats.as_slice().iter().map(|slot| (*slot, at))),
                Op::Send { to, .. } | Op::Presence { to, .. } => match to {
                    Audience::All => self.shared = [true; 2],
                    Audience::Tracked => self.shared[Class::Tracked as usize] = true,
                    Audience::Except(seats) => {
                        self.shared = [true; 2];
                        marks.extend(seats.as_slice().iter().map(|slot| (*slot, at)));
                    }
                    Audience::Only(seats) => marks.extend(seats.as_slice().iter().map(|slot| (*slot, at))),
                    Audience::Outsider(to) => {
                        self.private.push(Private { to: to.clone(), pieces: vec![Piece::Private(at)] });
                    }
                },
            }
        }
        marks.sort_unstable();
        marks
    }

    /// Follows one slot through the batch: its marks cut the shared part into pieces.
    fn walk(&mut self, batch: &Batch<R>, marks: &[(Slot, u32)], recipients: &mut Recipients<R>) {
        let slot = marks[0].0;
        let mut entry = recipients.get(slot).cloned();
        let mut pieces = Vec::new();
        let mut from = 0;
        for &(_, at) in marks {
            let before = |entry: &Option<Reception<R>>, pieces: &mut Vec<Piece>| {
                if let Some(reception) = entry.as_ref().filter(|_| from < at) {
                    pieces.push(Piece::Shared(Class::of(reception), from..at));
                }
            };
            before(&entry, &mut pieces);
            from = at + 1;
            match &batch.ops[at as usize] {
                Op::Join { recipient, .. } => {
                    self.finish(entry.take(), std::mem::take(&mut pieces));
                    entry = Some(Reception { to: recipient.clone(), tracked: false });
                }
                Op::Leave { .. } => self.finish(entry.take(), std::mem::take(&mut pieces)),
                Op::Track { on, .. } => {
                    if let Some(reception) = &mut entry {
                        reception.tracked = *on;
                    }
                }
                Op::Send { to: Audience::Only(_), .. } if entry.is_some() => pieces.push(Piece::Private(at)),
                Op::Send { .. } | Op::Presence { .. } => {}
            }
        }
        let end = batch.ops.len() as u32;
        if let Some(reception) = entry.as_ref().filter(|_| from < end) {
            pieces.push(Piece::Shared(Class::of(reception), from..end));
        }
        self.finish(entry.clone(), pieces);
        recipients.put(slot, entry);
    }

    fn finish(&mut self, entry: Option<Reception<R>>, pieces: Vec<Piece>) {
        if let Some(reception) = entry.filter(|_| !pieces.is_empty()) {
            self.private.push(Private { to: reception.to, pieces });
        }
    }
}

/// The frames of a batch in one wire encoding: every message framed once, whoever gets it.
#[derive(Debug)]
pub struct Encoded<B> {
    all: Track<B>,
    tracked: Option<Track<B>>,
    private: Track<B>,
}

/// Frames one behind the other, and where those of each operation end.
#[derive(Debug)]
struct Track<B> {
    bytes: B,
    /// In bytes, after each operation.
    at: Vec<u32>,
    /// In frames, after each operation.
    frames: Vec<u32>,
}

/// A run of whole frames within one buffer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Run<'a, B> {
    /// The buffer, shared by all recipients.
    pub buffer: &'a B,
    /// The run within it, in bytes.
    pub range: Range<usize>,
    /// How many frames it holds.
    pub frames: u32,
}

impl<B: AsRef<[u8]>> Encoded<B> {
    /// Frames every message of the batch once with `frame`; `share` makes a finished buffer cheap to hand out.
    pub fn new<R>(
        batch: &Batch<R>,
        mut frame: impl FnMut(&[u8], &mut Vec<u8>),
        share: impl Fn(Vec<u8>) -> B,
    ) -> Encoded<B> {
        let mut track = |wanted: fn(&Audience<R>) -> bool, framed: Option<&Track<B>>| {
            let mut track = Track { bytes: Vec::new(), at: Vec::new(), frames: Vec::new() };
            for (index, op) in batch.ops.iter().enumerate() {
                let mut frames = 0;
                if let Some(run) = framed.and_then(|framed| framed.run(index, index + 1)) {
                    track.bytes.extend_from_slice(&run.buffer.as_ref()[run.range]);
                    frames = run.frames;
                } else if let Op::Send { to, text } = op
                    && wanted(to)
                {
                    frame(&batch.text[text.start as usize..text.end as usize], &mut track.bytes);
                    frames = 1;
                }
                track.end_operation(frames);
            }
            Track { bytes: share(track.bytes), at: track.at, frames: track.frames }
        };
        let all = track(|to| matches!(to, Audience::All | Audience::Except(_)), None);
        let presence = batch.ops.iter().any(|op| matches!(op, Op::Send { to: Audience::Tracked, .. }));
        let tracked = presence.then(|| track(|to| matches!(to, Audience::Tracked), Some(&all)));
        let private = track(|to| matches!(to, Audience::Only(_) | Audience::Outsider(_)), None);
        Encoded { all, tracked, private }
    }

    /// The frames of one piece, or `None` if there are none.
    pub fn piece(&self, piece: &Piece) -> Option<Run<'_, B>> {
        match piece {
            Piece::Shared(class, ops) => self.shared(*class).run(ops.start as usize, ops.end as usize),
            Piece::Private(op) => self.private.run(*op as usize, *op as usize + 1),
        }
    }

    /// Everything that a class gets, or `None` if that is nothing.
    pub fn whole(&self, class: Class) -> Option<Run<'_, B>> {
        let track = self.shared(class);
        track.run(0, track.at.len())
    }

    fn shared(&self, class: Class) -> &Track<B> {
        match class {
            Class::All => &self.all,
            Class::Tracked => self.tracked.as_ref().unwrap_or(&self.all),
        }
    }
}

impl<B> Track<B> {
    /// The frames of the operations from the `from`-th up to, not including, the `to`-th.
    fn run(&self, from: usize, to: usize) -> Option<Run<'_, B>> {
        let before = |ends: &[u32], op: usize| op.checked_sub(1).map_or(0, |last| ends[last]);
        let range = before(&self.at, from) as usize..before(&self.at, to) as usize;
        let frames = before(&self.frames, to) - before(&self.frames, from);
        (!range.is_empty()).then_some(Run { buffer: &self.bytes, range, frames })
    }
}

impl Track<Vec<u8>> {
    fn end_operation(&mut self, frames: u32) {
        self.at.push(self.bytes.len() as u32);
        self.frames.push(self.frames.last().copied().unwrap_or(0) + frames);
    }
}
