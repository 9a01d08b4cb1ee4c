//! One mutex for all short locks: never held across an `.await`, nor while user code runs. Under `cfg(pond_loom)` it
//! is loom's, so that the models check the very code that runs. (Under `cfg(loom)` tokio would have no sockets.)

#[cfg(pond_loom)]
use loom::sync::Mutex as Inner;
#[cfg(pond_loom)]
pub(crate) use loom::sync::MutexGuard;
#[cfg(pond_loom)]
pub(crate) use loom::sync::atomic::AtomicU8;
#[cfg(not(pond_loom))]
use std::sync::Mutex as Inner;
#[cfg(not(pond_loom))]
pub(crate) use std::sync::MutexGuard;
#[cfg(not(pond_loom))]
pub(crate) use std::sync::atomic::AtomicU8;
pub(crate) use std::sync::atomic::Ordering;

/// A mutex without poisoning: its data is changed by plain assignments, which no panic can leave half done.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(Inner<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Mutex(Inner::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        match self.0.lock() {
            Ok(guard) => guard,
            Err(poisoned) => poisoned.into_inner(),
        }
    }
}
