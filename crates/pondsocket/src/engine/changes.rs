//! The wait for a change that another task makes.

use std::pin::pin;

use tokio::sync::Notify;

/// Waits until a condition holds, which is looked at now, and whenever all waiters are notified.
pub(crate) async fn until(changed: &Notify, holds: impl Fn() -> bool) {
    loop {
        let mut next = pin!(changed.notified());
        // Before the look: a change behind it is not missed.
        next.as_mut().enable();
        if holds() {
            return;
        }
        next.await;
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_change_between_the_look_and_the_wait_is_not_missed() {
        let (changed, looks) = (Notify::new(), Cell::new(0));
        until(&changed, || {
            looks.set(looks.get() + 1);
            // The change comes just behind each look.
            changed.notify_waiters();
            looks.get() == 3
        })
        .await;
        assert_eq!(looks.get(), 3);
    }
}
