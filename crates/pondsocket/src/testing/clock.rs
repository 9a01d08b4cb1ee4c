//! A wall clock that is wrong, for tests of nodes whose clocks disagree.

use std::cell::Cell;

thread_local! {
    static AHEAD: Cell<i64> = const { Cell::new(0) };
}

/// Calls `make` with a wall clock that is ahead by this many milliseconds, or behind if the number is negative. The node of a
/// server that gets its first endpoint in this call keeps that clock.
pub fn with_clock_ahead<T>(milliseconds: i64, make: impl FnOnce() -> T) -> T {
    // Restored by a drop, so that a panic in `make` does not leave the thread with a wrong clock.
    struct Restore(i64);
    impl Drop for Restore {
        fn drop(&mut self) {
            AHEAD.set(self.0);
        }
    }
    let _restore = Restore(AHEAD.replace(milliseconds));
    make()
}

/// The milliseconds by which the clock of this thread is ahead.
pub(crate) fn clock_ahead() -> i64 {
    AHEAD.get()
}
