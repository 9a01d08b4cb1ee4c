//! The entry that a connection's task has in the shared timer.

use std::task::Context;

use tokio::time::Instant;

use crate::engine::timer::{Key, Timer};

/// The next time at which the timer wakes a task, if one is set.
#[derive(Debug, Default)]
pub(super) struct WakeUp(Option<(Instant, Key)>);

impl WakeUp {
    /// Makes sure that the task is woken at `deadline`. One that is set already and comes earlier is kept: setting it anew
    /// at each change would cost more than waking for nothing now and then.
    pub(super) fn set(&mut self, timer: &Timer, cx: &Context<'_>, now: Instant, deadline: Instant) {
        match self.0 {
            Some((at, _)) if at <= deadline && at > now => return,
            Some((_, key)) => timer.disarm(key),
            None => {}
        }
        self.0 = Some((deadline, timer.arm(deadline, cx.waker().clone())));
    }

    pub(super) fn clear(&mut self, timer: &Timer) {
        if let Some((_, key)) = self.0.take() {
            timer.disarm(key);
        }
    }
}
