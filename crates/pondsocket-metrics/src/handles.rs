//! Metric handles by name, made at their first use and kept.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock};

type ByName<H> = HashMap<Box<str>, Arc<H>>;

/// Handles by a key and a name, of which there are few. The lock is not held while a handle is made or used.
pub(crate) struct Handles<K, H>(RwLock<HashMap<K, ByName<H>>>);

impl<K: Copy + Eq + Hash, H> Handles<K, H> {
    pub(crate) fn new() -> Handles<K, H> {
        Handles(RwLock::default())
    }

    /// Returns the handles of a key and a name, and makes them at their first use.
    pub(crate) fn get_or_insert(&self, key: K, name: &str, make: impl FnOnce() -> H) -> Arc<H> {
        // A read lock suffices for every call but the first ones of a name, so threads do not wait for each other.
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(handles) = known.get(&key).and_then(|names| names.get(name)) {
            return Arc::clone(handles);
        }
        drop(known);
        // Two threads may both make them. That is harmless: handles of the same name update the same metric.
        let handles = Arc::new(make());
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(key).or_default().insert(name.into(), Arc::clone(&handles));
        handles
    }
}
