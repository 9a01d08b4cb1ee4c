//! Ids: random ones of connections and of messages that answer no request, random epochs of histories, and serial numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use pondsocket_proto::position::Epoch;

/// A fresh UUID v4, as a number.
pub(crate) fn fresh() -> u128 {
    uuid::Uuid::new_v4().as_u128()
}

/// An epoch that no history has had: a random one.
pub(crate) fn fresh_epoch() -> Epoch {
    // The lower part of a random number: an epoch has 32 bits.
    Epoch::new(fresh() as u32)
}

/// The next number of this process; 0 is none.
pub(crate) fn serial() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}
