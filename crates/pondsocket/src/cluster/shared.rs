use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::Bus;

/// A bus of any type, as [`Options`](crate::Options) hold it. Every bus, and every `Arc` of one, converts into it.
///
/// One bus belongs to one `PondSocket`. Clones are handles to the same bus.
#[derive(Clone)]
pub struct SharedBus(Arc<dyn Bus>);

impl SharedBus {
    pub(crate) fn get(&self) -> Arc<dyn Bus> {
        Arc::clone(&self.0)
    }
}

impl<B: Bus> From<B> for SharedBus {
    fn from(bus: B) -> SharedBus {
        SharedBus(Arc::new(bus))
    }
}

impl<B: Bus> From<Arc<B>> for SharedBus {
    fn from(bus: Arc<B>) -> SharedBus {
        SharedBus(bus)
    }
}

impl Deref for SharedBus {
    type Target = dyn Bus;

    fn deref(&self) -> &dyn Bus {
        &*self.0
    }
}

impl fmt::Debug for SharedBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedBus")
    }
}
