//! The queue of an outbox, which takes memory only while frames wait in it.
//!
//! Most outboxes are empty, and the answers of a connection wait only until its task has handled what it has read. So a thread
//! keeps one spare queue with its buffer, and an answer needs no allocation for it.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::queue::FrameQueue;
use crate::engine::framing::Framing;
use crate::limits::memory::Memory;

/// The most entries for which a spare queue has room. A longer one is freed.
const SPARE_ENTRIES: usize = 16;

thread_local! {
    static SPARE: Cell<Option<Box<FrameQueue>>> = const { Cell::new(None) };
}

/// The queue of an outbox without one.
static EMPTY: FrameQueue = FrameQueue::new(Framing::Plain);

/// A [`FrameQueue`] that is created by the first change.
#[derive(Debug)]
pub(super) struct OnDemand {
    queue: Option<Box<FrameQueue>>,
    framing: Framing,
}

impl OnDemand {
    pub(super) fn new(framing: Framing) -> OnDemand {
        OnDemand { queue: None, framing }
    }

    pub(super) fn framing(&self) -> Framing {
        self.framing
    }

    /// Drops all frames.
    pub(super) fn clear(&mut self) {
        if let Some(queue) = &mut self.queue {
            queue.clear();
        }
    }

    /// Reports the bytes that this outbox counts, and frees an empty queue. Called after each change, and not earlier: what has
    /// been reported is noted in the queue.
    pub(super) fn report(&mut self, memory: &Arc<Memory>) {
        let Some(queue) = &mut self.queue else { return };
        queue.report(memory);
        if queue.is_empty() {
            let spare = self.queue.take().filter(|queue| queue.entries.capacity() <= SPARE_ENTRIES);
            SPARE.set(spare);
        }
    }
}

impl Deref for OnDemand {
    type Target = FrameQueue;

    fn deref(&self) -> &FrameQueue {
        self.queue.as_deref().unwrap_or(&EMPTY)
    }
}

impl DerefMut for OnDemand {
    fn deref_mut(&mut self) -> &mut FrameQueue {
        let framing = self.framing;
        self.queue.get_or_insert_with(|| match SPARE.take() {
            Some(mut spare) => {
                spare.framing = framing;
                spare
            }
            None => Box::new(FrameQueue::new(framing)),
        })
    }
}
