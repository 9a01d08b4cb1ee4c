use std::cell::Cell;

thread_local! {
    static AHEAD: Cell<i64> = const { Cell::new(0) };
}

/// Runs `make` on a machine whose clock is so many milliseconds ahead, or behind if that is negative: the node of a server
/// that gets its first endpoint in it has that clock for its whole life.
pub fn with_clock_ahead<T>(milliseconds: i64, make: impl FnOnce() -> T) -> T {
    struct Restore(i64);
    impl Drop for Restore {
        fn drop(&mut self) {
            AHEAD.set(self.0);
        }
    }
    let _restore = Restore(AHEAD.replace(milliseconds));
    make()
}

/// How far the clock of this thread is ahead.
pub(crate) fn clock_ahead() -> i64 {
    AHEAD.get()
}
