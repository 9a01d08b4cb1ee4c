use std::sync::{Arc, OnceLock};

use crate::engine::timer::Timer;
use crate::hooks::HookSet;
use crate::limits::address::Proxies;
use crate::metrics::Meter;
use crate::options::Options;
use crate::pond::drain::Drain;
use crate::pond::states::States;

/// What all endpoints of a `PondSocket` share.
#[derive(Debug, Default)]
pub(crate) struct Common {
    pub(crate) options: Options,
    pub(crate) states: States,
    pub(crate) proxies: Proxies,
    pub(crate) meter: Meter,
    pub(crate) hooks: HookSet,
    pub(crate) drain: Drain,
    timer: OnceLock<Arc<Timer>>,
}

impl Common {
    pub(crate) fn new(options: Options, proxies: Proxies) -> Common {
        Common { options, proxies, ..Common::default() }
    }

    /// The timer, started on the runtime of the first connection.
    pub(crate) fn timer(&self) -> &Arc<Timer> {
        self.timer.get_or_init(Timer::start)
    }
}
