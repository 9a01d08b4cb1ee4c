//! Ids: random ones of connections and of messages that answer no request, and serial numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// A fresh UUID v4, as a number.
pub(crate) fn fresh() -> u128 {
    uuid::Uuid::new_v4().as_u128()
}

/// The next number of this process; 0 is none.
pub(crate) fn serial() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}
