use std::sync::{Arc, Mutex};

use crate::eventually;

/// A log of the calls of handlers, in order. Clones share it, so that handlers can take it as their state.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// Appends a line.
    pub fn note(&self, what: impl Into<String>) {
        self.0.lock().expect("no panic").push(what.into());
    }

    /// Takes all that was noted since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("no panic"))
    }

    /// Waits until something has been noted, and takes it.
    pub async fn next(&self) -> Vec<String> {
        eventually("something to note", || !self.0.lock().expect("no panic").is_empty()).await;
        self.take()
    }
}
