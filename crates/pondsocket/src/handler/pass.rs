//! The slot in which a handler leaves its context for the next one that matches.
//!
//! A handler can only return an answer or an error, and layers around it may inspect both. So `ctx.pass()` puts the
//! context into a slot, and returns an error that is only a sign. The consequence is decided once the handler and its
//! layers have ended: see [`HandlerOutcome::of`](super::dispatch::HandlerOutcome::of).

use std::sync::{Arc, Weak};

use crate::engine::sync::Mutex;

/// The slot of one context, for contexts without a longer-lived object to keep it in. (That of an event is its `Call`.)
pub(crate) struct PassSlot<C>(Arc<Mutex<Option<C>>>);

/// The reference of a context to its [`PassSlot`]. It is weak, because the context may itself be in the slot: a strong
/// reference would be a cycle, and leak both.
#[derive(Debug)]
pub(crate) struct PassSlotRef<C>(Weak<Mutex<Option<C>>>);

impl<C> PassSlot<C> {
    pub(crate) fn new() -> PassSlot<C> {
        PassSlot(Arc::new(Mutex::new(None)))
    }

    pub(crate) fn downgrade(&self) -> PassSlotRef<C> {
        PassSlotRef(Arc::downgrade(&self.0))
    }

    pub(crate) fn take(&self) -> Option<C> {
        self.0.lock().take()
    }
}

impl<C> PassSlotRef<C> {
    /// Leaves a context in the slot. If the slot was dropped, so was the code that ran the handler: then the context is
    /// dropped, too.
    pub(crate) fn leave(self, context: C) {
        if let Some(slot) = self.0.upgrade() {
            *slot.lock() = Some(context);
        }
    }
}

impl<C> Default for PassSlotRef<C> {
    fn default() -> Self {
        PassSlotRef(Weak::new())
    }
}
