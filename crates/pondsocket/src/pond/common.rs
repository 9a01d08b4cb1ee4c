use std::sync::{Arc, OnceLock};

use crate::cluster::node::Node;
use crate::engine::history::Histories;
use crate::engine::timer::{SharedTimer, Timer};
use crate::hooks::HookSet;
use crate::limits::address::Proxies;
use crate::limits::memory::Memory;
use crate::metrics::Meter;
use crate::options::Options;
use crate::pond::drain::Drain;
use crate::pond::restart::Restart;
use crate::pond::states::States;

/// The state that all endpoints of a `PondSocket` share.
#[derive(Debug, Default)]
pub(crate) struct Common {
    pub(crate) options: Options,
    pub(crate) states: States,
    pub(crate) proxies: Proxies,
    pub(crate) meter: Meter,
    pub(crate) hooks: HookSet,
    pub(crate) drain: Drain,
    pub(crate) memory: Arc<Memory>,
    pub(crate) histories: Arc<Histories>,
    /// `None` unless histories outlive the server.
    pub(crate) restart: Option<Box<Restart>>,
    pub(crate) shared_timer: SharedTimer,
    /// Created on demand, because state, metrics and options are set before.
    node: OnceLock<Option<Arc<Node>>>,
}

impl Common {
    pub(crate) fn new(options: Options, proxies: Proxies) -> Common {
        let mut common = Common::default();
        common.memory = Arc::new(Memory::new(options.memory_limit));
        common.histories = Arc::new(Histories::new(options.history_bytes, options.max_ghosts));
        common.restart = Restart::new(&options);
        (common.options, common.proxies) = (options, proxies);
        common
    }

    /// This server's node in the cluster, if it has a bus. It is created with the first endpoint, and started on the
    /// first runtime.
    pub(crate) fn node(&self) -> Option<&Arc<Node>> {
        let make = || {
            let bus = self.options.bus.as_ref()?.get();
            Some(Node::new(bus, &self.options, self.meter.clone()))
        };
        let node = self.node.get_or_init(make).as_ref();
        // Endpoints may be created before there is a runtime, so each call tries to start the node. Further calls have
        // no effect.
        node.inspect(|node| node.start())
    }

    /// Goes on with the histories and sessions of an earlier server. Further calls have no effect.
    pub(crate) fn restore(&self) {
        if let Some(restart) = &self.restart {
            restart.restore();
        }
    }

    /// Starts the tasks that all connections share on the current runtime. Otherwise they start on that of the first
    /// connection.
    #[cfg(feature = "server")]
    pub(crate) fn start_tasks(&self) {
        self.memory.runtime.remember();
        self.histories.runtime.remember();
        // These calls start the tasks of the node, if there is a bus, and of the timer.
        let _ = (self.node(), self.timer());
    }

    /// The timer, started on the runtime of the first connection.
    pub(crate) fn timer(&self) -> &Arc<Timer> {
        self.shared_timer.get()
    }
}

impl Drop for Common {
    fn drop(&mut self) {
        if let Some(Some(node)) = self.node.get() {
            // The server may be dropped without a shutdown: the node's task must not outlive it.
            node.abandon();
        }
    }
}
