//! A machine under full load: slow nodes are not considered dead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::case::{Form, Outcome};
use crate::fixture::Fixture;
use crate::world::World;

const TIME: Duration = Duration::from_secs(600);

/// As many busy threads as the machine has cores.
struct Load(Arc<AtomicBool>);

impl Load {
    fn begin() -> Load {
        let on = Arc::new(AtomicBool::new(true));
        let cores = std::thread::available_parallelism().expect("the number of cores is known").get();
        for _ in 0..cores {
            let on = Arc::clone(&on);
            std::thread::spawn(move || while on.load(Ordering::Relaxed) {});
        }
        Load(on)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

pub(crate) async fn slow_nodes_stay_alive(form: Form) -> Outcome {
    let mut fixture = Fixture::set(World::Plain, 24, form.seed).await;
    let load = Load::begin();
    fixture.live(TIME).await;
    drop(load);
    fixture.heals().await;
    Outcome { note: format!("no node was hidden in {TIME:.0?}"), ..Outcome::default() }
}
