use tokio::sync::watch;

/// A signal for a bus to end. All clones get it.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

/// The other end of a [`Stop`]. Dropping it stops the bus, too, so that a bus never outlives its node.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

impl Stop {
    /// Creates both ends.
    pub fn new() -> (Stopper, Stop) {
        let (sender, receiver) = watch::channel(false);
        (Stopper(sender), Stop(receiver))
    }

    /// Completes when the bus is to end. It may be called any number of times, and its future dropped at any time.
    pub async fn stopped(&self) {
        // On a clone, because waiting needs `&mut`. An error means that the `Stopper` was dropped, which is a signal,
        // too.
        let _ = self.0.clone().wait_for(|stopped| *stopped).await;
    }

    /// Returns `true` once the bus is to end.
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

impl Stopper {
    /// Signals the bus to end.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_clones_get_the_signal_permanently() {
        let (stopper, stop) = Stop::new();
        let clone = stop.clone();
        assert!(!stop.is_stopped());
        stopper.stop();
        assert!(stop.is_stopped());
        stop.stopped().await;
        clone.stopped().await;
    }

    #[tokio::test]
    async fn dropping_the_stopper_is_a_signal() {
        let (stopper, stop) = Stop::new();
        drop(stopper);
        assert!(stop.is_stopped());
        stop.stopped().await;
    }
}
