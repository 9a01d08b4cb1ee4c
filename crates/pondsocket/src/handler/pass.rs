//! The place in which a handler leaves its context for the next one that matches.
//!
//! A handler returns nothing but an answer or an error, and layers around it may look at both. So `ctx.pass()` puts the
//! context where the code that runs the handler finds it, and returns an error that is no more than a sign. What follows
//! from it is decided once the handler and its layers have ended: see
//! [`HandlerOutcome::of`](super::dispatch::HandlerOutcome::of).

use std::sync::{Arc, Weak};

use crate::engine::sync::Mutex;

/// The place of one context, for contexts that have none in anything else.
pub(crate) struct PassSlot<C>(Arc<Mutex<Option<C>>>);

/// The side of a [`PassSlot`] that the context itself has. It is weak, because the context may lie in the place: a strong
/// one would keep both alive for ever.
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
    /// Leaves a context in the place. If the place is gone, so is the code that ran the handler, and the context is dropped.
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
