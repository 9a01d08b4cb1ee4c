//! The calls into the application's metrics, if it has any.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::time::Instant;

use super::Metrics;

/// The application's metrics, if it has any.
#[derive(Clone, Default)]
pub(crate) struct Meter(Option<Arc<dyn Metrics>>);

impl Meter {
    pub(crate) fn new(metrics: impl Metrics) -> Meter {
        Meter(Some(Arc::new(metrics)))
    }

    /// Returns `true` if there are metrics.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Calls the application's metrics. To be called without a lock held, because they are code of the application.
    pub(crate) fn count(&self, report: impl FnOnce(&dyn Metrics)) {
        let Some(metrics) = &self.0 else { return };
        if catch_unwind(AssertUnwindSafe(|| report(&**metrics))).is_err() {
            tracing::error!(target: "pondsocket::metrics", "the application's metrics panicked");
        }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "Meter(on)" } else { "Meter(off)" })
    }
}

/// The metrics of one endpoint, with its pattern as a label.
#[derive(Debug)]
pub(crate) struct Observer {
    pub(crate) endpoint: Box<str>,
    pub(crate) meter: Meter,
}

impl Observer {
    /// The start of a duration to be reported; `None` without metrics, which saves the call to the clock.
    pub(crate) fn start(&self) -> Option<Instant> {
        self.meter.is_on().then(Instant::now)
    }

    /// Calls the application's metrics, with the endpoint's pattern.
    pub(crate) fn count(&self, report: impl FnOnce(&dyn Metrics, &str)) {
        self.meter.count(|metrics| report(metrics, &self.endpoint));
    }
}
