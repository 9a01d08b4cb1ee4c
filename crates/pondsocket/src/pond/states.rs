use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::sync::Arc;

/// The values that the application has passed to [`PondSocket::state`](crate::PondSocket::state), by type.
#[derive(Clone, Default)]
pub struct States(Arc<HashMap<TypeId, Box<dyn Any + Send + Sync>>>);

impl States {
    /// Adds a value; it replaces an earlier one of the same type.
    ///
    /// # Panics
    /// If handlers share these states already.
    pub(crate) fn insert<S: Send + Sync + 'static>(&mut self, state: S) {
        let map = Arc::get_mut(&mut self.0).expect("state is set before endpoints are created");
        map.insert(TypeId::of::<S>(), Box::new(state));
    }

    /// The state of this type.
    pub fn get<S: 'static>(&self) -> Option<&S> {
        self.0.get(&TypeId::of::<S>())?.downcast_ref()
    }

    /// Makes sure that there is a state of this type.
    ///
    /// # Panics
    /// If there is none. The text names the type: this runs when a handler is registered.
    pub fn require<S: 'static>(&self) {
        assert!(
            self.get::<S>().is_some(),
            "a handler asks for State<{0}>: call .state({0}) on the PondSocket first",
            type_name::<S>()
        );
    }
}

impl std::fmt::Debug for States {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "States({})", self.0.len())
    }
}
