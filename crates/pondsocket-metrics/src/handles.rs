//! Metric handles by name, made at their first use and kept.

use std::sync::OnceLock;

/// Handles by a key and a name, of which an application has few: the patterns of its endpoints, channels and events. They are
/// compared one by one, which is faster than to hash the name. The list only grows, so that reading it takes no lock and writes
/// nothing: every message of every connection does.
pub(crate) struct Handles<K, H> {
    first: Link<K, H>,
}

type Link<K, H> = OnceLock<Box<Known<K, H>>>;

struct Known<K, H> {
    key: K,
    name: Box<str>,
    handles: H,
    next: Link<K, H>,
}

impl<K: Copy + Eq, H> Handles<K, H> {
    pub(crate) fn new() -> Handles<K, H> {
        Handles { first: OnceLock::new() }
    }

    /// Returns the handles of a key and a name, which are made at their first use.
    pub(crate) fn get(&self, key: K, name: &str, make: impl Fn() -> H) -> &H {
        let mut link = &self.first;
        loop {
            // Another thread may make other handles at the same place: then the search goes on behind them.
            let made = || Box::new(Known { key, name: name.into(), handles: make(), next: OnceLock::new() });
            let known = link.get_or_init(made);
            if known.key == key && *known.name == *name {
                return &known.handles;
            }
            link = &known.next;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn handles_of_a_key_and_a_name_are_made_once_by_any_number_of_threads() {
        let (handles, made) = (Handles::new(), AtomicUsize::new(0));
        let use_all = || {
            for (key, name) in [(1, "/a"), (2, "/a"), (1, "/b"), (2, "/b")] {
                let handle = handles.get(key, name, || {
                    made.fetch_add(1, Ordering::Relaxed);
                    format!("{key} {name}")
                });
                assert_eq!(*handle, format!("{key} {name}"));
            }
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|_| use_all()));
            }
        });
        assert_eq!(made.load(Ordering::Relaxed), 4);
    }
}
