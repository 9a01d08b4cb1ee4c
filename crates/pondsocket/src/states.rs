use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::sync::Arc;

/// What the application gave to [`PondSocket::state`](crate::PondSocket::state), by type.
#[derive(Clone, Default)]
pub struct States(Arc<HashMap<TypeId, Box<dyn Any + Send + Sync>>>);

impl States {
    pub(crate) fn with<S: Send + Sync + 'static>(self, state: S) -> States {
        let mut map = Arc::try_unwrap(self.0).unwrap_or_else(|_| panic!("state is set before endpoints are created"));
        map.insert(TypeId::of::<S>(), Box::new(state));
        States(Arc::new(map))
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
