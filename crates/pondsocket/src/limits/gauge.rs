//! A count of objects, and a way to wait until there are none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// A count of objects, each of which holds a [`Permit`].
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    count: AtomicUsize,
    zero: Notify,
}

/// One counted object. It is counted until the permit is dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Gauge>);

impl Gauge {
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    pub(crate) fn permit(self: &Arc<Self>) -> Permit {
        self.count.fetch_add(1, Ordering::AcqRel);
        Permit(Arc::clone(self))
    }

    /// A permit, unless there are `most` already. The check and the count are one atomic step, so the limit is never
    /// exceeded.
    pub(crate) fn permit_below(self: &Arc<Self>, most: usize) -> Option<Permit> {
        let one_more = |count| (count < most).then_some(count + 1);
        self.count.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        Some(Permit(Arc::clone(self)))
    }

    /// Completes when there are no permits. There may be new ones again by the time the caller runs.
    pub(crate) async fn empty(&self) {
        loop {
            // Created before the check: `notify_waiters` wakes only futures that exist by then, and the last permit may
            // be dropped between the check and the wait.
            let zero = self.zero.notified();
            if self.count() == 0 {
                return;
            }
            zero.await;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Acquire and release: a task that reads a count of zero sees all writes that were made under the permits.
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.zero.notify_waiters();
        }
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_gauge_is_empty_when_the_last_permit_is_dropped() {
        let gauge = Arc::new(Gauge::default());
        let (first, second) = (gauge.permit(), gauge.permit_below(2));
        assert!(second.is_some() && gauge.permit_below(2).is_none());
        let waiting = tokio::spawn({
            let gauge = Arc::clone(&gauge);
            async move { gauge.empty().await }
        });
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished() && gauge.count() == 1);
        drop(second);
        waiting.await.expect("it completes");
    }
}
