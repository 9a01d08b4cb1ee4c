//! Metric handles by name, made at their first use and kept.

use std::sync::Arc;

use arc_swap::ArcSwap;

/// Handles by a key and a name, of which an application has few: the patterns of its endpoints, channels and events. They are
/// compared one by one, which is faster than to hash the name. Reading takes no lock: every message of every connection does.
pub(crate) struct Handles<K, H>(ArcSwap<Vec<Known<K, H>>>);

struct Known<K, H> {
    key: K,
    name: Arc<str>,
    handles: Arc<H>,
}

// Not derived: handles themselves need not be cloned.
impl<K: Copy, H> Clone for Known<K, H> {
    fn clone(&self) -> Self {
        Known { key: self.key, name: Arc::clone(&self.name), handles: Arc::clone(&self.handles) }
    }
}

impl<K: Copy + Eq, H> Handles<K, H> {
    pub(crate) fn new() -> Handles<K, H> {
        Handles(ArcSwap::default())
    }

    /// Uses the handles of a key and a name, which are made at their first use.
    pub(crate) fn with(&self, key: K, name: &str, make: impl FnOnce() -> H, use_handles: impl FnOnce(&H)) {
        let is_meant = |known: &&Known<K, H>| known.key == key && *known.name == *name;
        if let Some(known) = self.0.load().iter().find(is_meant) {
            return use_handles(&known.handles);
        }
        // Two threads may both make them. That is harmless: handles of the same name update the same metric.
        let made = Known { key, name: name.into(), handles: Arc::new(make()) };
        use_handles(&made.handles);
        self.0.rcu(|known| known.iter().filter(|known| !is_meant(known)).chain([&made]).cloned().collect::<Vec<_>>());
    }
}
