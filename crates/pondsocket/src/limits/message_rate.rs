//! The rate at which one connection may send.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::bucket::{Bucket, Rate};
use crate::metrics::Limit;
use crate::options::Options;

/// A bucket for each rate that is limited.
#[derive(Debug)]
pub(crate) struct Rates {
    messages: Option<(Rate, Bucket)>,
    bytes: Option<(Rate, Bucket)>,
    /// The number of messages in a row that have been refused. A client that ignores the refusals is disconnected.
    refused: u32,
}

impl Rates {
    /// `None` if nothing is limited.
    pub(crate) fn new(options: &Options, now: Instant) -> Option<Box<Rates>> {
        let limited = |per_second: u32| {
            let rate = Rate { per_second: f64::from(per_second), burst: f64::from(per_second) };
            (per_second > 0).then(|| (rate, Bucket::full(rate, now)))
        };
        let (messages, bytes) = (limited(options.messages_per_second), limited(options.bytes_per_second));
        (messages.is_some() || bytes.is_some()).then(|| Box::new(Rates { messages, bytes, refused: 0 }))
    }

    /// Takes the cost of a message of this size. `Err` has the time after which it may be sent, and the limit that is
    /// exceeded.
    pub(crate) fn admit(&mut self, bytes: usize, now: Instant) -> Result<(), (Duration, Limit)> {
        let take = |limit: &mut Option<(Rate, Bucket)>, cost: f64| match limit {
            Some((rate, bucket)) => bucket.take(*rate, cost, now),
            None => Ok(()),
        };
        let taken = take(&mut self.messages, 1.0).map_err(|after| (after, Limit::Messages));
        // Bytes are taken only if a message was. If bytes are refused, the message stays taken: a refused message costs
        // one, too.
        let taken = taken.and_then(|()| take(&mut self.bytes, bytes as f64).map_err(|after| (after, Limit::Bytes)));
        self.refused = if taken.is_ok() { 0 } else { self.refused + 1 };
        taken
    }

    /// The number of messages in a row that have been refused.
    pub(crate) fn refused(&self) -> u32 {
        self.refused
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use super::*;

    #[test]
    fn messages_and_bytes_are_counted_apart_and_refusals_in_a_row() {
        let now = Instant::now();
        let options = Options::default().messages_per_second(2).bytes_per_second(100);
        let mut rates = Rates::new(&options, now).expect("limited");
        assert_eq!(rates.admit(90, now), Ok(()));
        assert_eq!(rates.admit(20, now), Err((Duration::from_millis(100), Limit::Bytes)));
        assert_eq!(rates.admit(5, now), Err((Duration::from_millis(500), Limit::Messages)));
        assert_eq!(rates.refused(), 2);
        assert_eq!(rates.admit(5, now + Duration::from_millis(500)), Ok(()));
        assert_eq!(rates.refused(), 0);
    }

    #[test]
    fn without_limits_nothing_is_counted() {
        assert!(Rates::new(&Options::default(), Instant::now()).is_none());
    }
}
