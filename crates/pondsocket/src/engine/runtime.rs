//! The runtime of the connections, for work that is started outside of any.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::Handle;

/// A runtime that is remembered once it has been seen.
#[derive(Debug, Default)]
pub(crate) struct KnownRuntime(OnceLock<Handle>);

impl KnownRuntime {
    /// Remembers the runtime of the caller, unless one is known.
    pub(crate) fn remember(&self) {
        if self.0.get().is_none()
            && let Ok(handle) = Handle::try_current()
        {
            // Another thread may have been first: one runtime is as good as the other.
            let _ = self.0.set(handle);
        }
    }

    /// The runtime that is known.
    pub(crate) fn get(&self) -> Option<&Handle> {
        self.0.get()
    }

    /// Runs a task on the runtime of the caller, or else on the one that is known. Returns `false` if there is neither:
    /// the task is dropped then.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> bool {
        let here = Handle::try_current().ok();
        let Some(runtime) = here.as_ref().or(self.0.get()) else { return false };
        // Its handle is not needed: the task ends by itself.
        drop(runtime.spawn(task));
        true
    }
}
