//! The event handlers of a lobby, by pattern, in the order of their registration.

use std::collections::BTreeMap;
use std::sync::Arc;

use pondsocket_proto::pattern::{Match, Pattern};

use crate::context::EventContext;
use crate::handler::Erased;

/// See the module. Handlers are only ever appended, so the place of one stays the same.
#[derive(Default)]
pub(super) struct EventHandlers {
    entries: Vec<(Pattern, Erased<EventContext>)>,
    /// The place of the first handler that matches, for the names of events that are patterns themselves. Most events have
    /// such a name, and no pattern is matched for them. It is ordered and not hashed: clients choose the names, and no
    /// names make a search in an order slow.
    by_name: BTreeMap<Box<str>, usize>,
}

impl EventHandlers {
    pub(super) fn push(&mut self, pattern: Pattern, handler: Erased<EventContext>) {
        let names = pattern.as_literal().map(|plain| [plain.into(), Box::from(pattern.as_str())]);
        self.entries.push((pattern, handler));
        for name in names.into_iter().flatten() {
            // A pattern with a parameter that was registered before may match it, too.
            if let Some((first, ..)) = self.matching(&name, 0) {
                self.by_name.entry(name).or_insert(first);
            }
        }
    }

    pub(super) fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.entries.iter().map(|(pattern, _)| pattern)
    }

    /// The first handler whose pattern matches an event, beginning with the `from`-th.
    pub(super) fn find(&self, event: &str, from: usize) -> Option<(usize, Match, Erased<EventContext>)> {
        let known = self.by_name.get(event).filter(|first| **first >= from);
        match known.map(|first| (*first, &self.entries[*first])) {
            Some((first, (pattern, handler))) if pattern.is_literal() => {
                Some((first, Match::default(), Arc::clone(handler)))
            }
            _ => self.matching(event, from),
        }
    }

    fn matching(&self, event: &str, from: usize) -> Option<(usize, Match, Erased<EventContext>)> {
        let mut rest = self.entries.iter().enumerate().skip(from);
        rest.find_map(|(at, (pattern, handler))| Some((at, pattern.matches(event)?, Arc::clone(handler))))
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Names that are patterns, in any spelling, among patterns with parameters and wildcards, in any order.
        #[test]
        fn the_first_pattern_registered_that_matches_is_found(
            patterns in prop::collection::vec("/?(a|b|:x)(/(a|b|:y|\\*))?/?", 1..8),
            event in "/{0,2}(a|b|c)(/(a|b))?/?(\\?q=1)?",
            from in 0usize..9,
        ) {
            let mut handlers = EventHandlers::default();
            for pattern in patterns.iter().filter_map(|pattern| Pattern::parse(pattern).ok()) {
                handlers.push(pattern, Arc::new(|_| Box::pin(std::future::ready(Ok(())))));
            }
            let expected = handlers.patterns().map(|pattern| pattern.matches(&event)).enumerate().skip(from);
            let expected = expected.filter_map(|(at, matched)| Some((at, matched?))).next();
            let found = handlers.find(&event, from).map(|(at, matched, _)| (at, matched));
            prop_assert_eq!(format!("{found:?}"), format!("{expected:?}"));
        }
    }
}
