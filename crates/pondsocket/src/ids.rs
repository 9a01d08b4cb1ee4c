//! Random ids: connections, and messages that answer nobody.

/// A fresh UUID v4, as a number.
pub(crate) fn fresh() -> u128 {
    uuid::Uuid::new_v4().as_u128()
}
