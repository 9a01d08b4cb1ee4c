use std::sync::{Arc, OnceLock};

use crate::options::Options;
use crate::states::States;
use crate::timer::Timer;

/// What all endpoints of a `PondSocket` share.
#[derive(Debug, Default)]
pub(crate) struct Common {
    pub(crate) options: Options,
    pub(crate) states: States,
    timer: OnceLock<Arc<Timer>>,
}

impl Common {
    pub(crate) fn new(options: Options, states: States) -> Common {
        Common { options, states, timer: OnceLock::new() }
    }

    /// The timer, started on the runtime of the first connection.
    pub(crate) fn timer(&self) -> &Arc<Timer> {
        self.timer.get_or_init(Timer::start)
    }
}
