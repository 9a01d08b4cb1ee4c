//! The joins that wait for the histories of their channels.

use std::hash::{BuildHasher, RandomState};

use pondsocket_proto::cluster::ChannelKey;
use tokio::sync::Notify;

use crate::engine::changes;

/// The number of groups of channels.
const GROUPS: usize = 256;

/// The waits for histories, in groups of channels. When the clients of a lost node come back, thousands of joins wait for many
/// channels at the same time, and a history that was read must not wake them all.
#[derive(Debug)]
pub(super) struct HistoryWaits {
    groups: Box<[Notify]>,
    hasher: RandomState,
}

impl Default for HistoryWaits {
    fn default() -> HistoryWaits {
        HistoryWaits { groups: (0..GROUPS).map(|_| Notify::new()).collect(), hasher: RandomState::new() }
    }
}

impl HistoryWaits {
    /// Waits until a condition holds, which is looked at now, and when the history of the channel has changed.
    pub(super) async fn until(&self, key: &ChannelKey, holds: impl Fn() -> bool) {
        changes::until(self.group(key), holds).await;
    }

    /// The history of a channel was read, or goes on without the store.
    pub(super) fn notify(&self, key: &ChannelKey) {
        self.group(key).notify_waiters();
    }

    fn group(&self, key: &ChannelKey) -> &Notify {
        &self.groups[self.hasher.hash_one(key) as usize % GROUPS]
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use std::cell::Cell;

    use futures_util::FutureExt;
    use pondsocket_proto::id::ChannelName;

    use super::*;

    fn key(number: usize) -> ChannelKey {
        ChannelKey { endpoint: "api".into(), channel: ChannelName::new(&format!("/{number}"), 9).expect("valid") }
    }

    #[test]
    fn a_change_wakes_those_who_wait_for_the_channel_and_few_others() {
        const WAITING: usize = 1000;
        let (waits, looks) = (HistoryWaits::default(), Cell::new(0));
        let look = || {
            looks.set(looks.get() + 1);
            false
        };
        let keys: Vec<_> = (0..WAITING).map(key).collect();
        let mut all: Vec<_> = keys.iter().map(|key| Box::pin(waits.until(key, look))).collect();
        assert!(all.iter_mut().all(|one| one.as_mut().now_or_never().is_none()));
        looks.set(0);
        waits.notify(&keys[7]);
        assert!(all[7].as_mut().now_or_never().is_none());
        assert_eq!(looks.get(), 1);
        assert!(all.iter_mut().all(|one| one.as_mut().now_or_never().is_none()));
        assert!(looks.get() < WAITING / 20, "{} looks", looks.get());
    }
}
