pub(crate) mod common;
pub(crate) mod drain;
pub(crate) mod host;
pub(crate) mod registration;
pub(crate) mod restart;
pub(crate) mod shutdown;
pub mod snapshot;
pub(crate) mod states;

use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};

use pondsocket_proto::cluster::{endpoint_name, is_reserved_endpoint};
use pondsocket_proto::pattern::Match;

use crate::context::ConnectionContext;
use crate::endpoint::{Endpoint, EndpointInner, EndpointKind, GhostLeaves};
use crate::error::{OrPanic, Result};
use crate::handler::{Handler, erase};
use crate::hooks::{HookSet, Hooks};
use crate::limits::address::Proxies;
use crate::metrics::{Meter, Metrics};
use crate::options::Options;
use crate::pond::common::Common;
use crate::pond::host::EndpointHost;
use crate::pond::registration::{RegistrationError, check_new, parse};
use crate::websocket::WebSocket;

/// The server: its endpoints, and the state that they share. It opens no port by itself: mount its
/// [`service`](Self::service) or [`layer`](Self::layer) in an HTTP server, or give it to a `Server`.
///
/// Cheap to clone: all clones are the same server.
#[derive(Clone, Debug, Default)]
pub struct PondSocket {
    pub(crate) common: Arc<Common>,
    endpoints: Arc<RwLock<Vec<Endpoint>>>,
}

impl PondSocket {
    /// A server with default options, on this node alone.
    pub fn new() -> PondSocket {
        PondSocket::default()
    }

    /// A server with these options.
    ///
    /// # Errors
    /// If a value is invalid; the message names the field.
    pub fn with_options(options: Options) -> Result<PondSocket> {
        options.validate()?;
        let proxies = Proxies::new(&options)?;
        let common = Arc::new(Common::new(options, proxies));
        Ok(PondSocket { common, endpoints: Arc::default() })
    }

    /// Adds a value that handlers share: they get a clone of it as [`State<S>`](crate::State).
    ///
    /// # Panics
    /// If an endpoint has been created already.
    #[must_use]
    #[track_caller]
    pub fn state<S: Clone + Send + Sync + 'static>(self, state: S) -> PondSocket {
        self.configure(|common| common.states.insert(state))
    }

    /// Sets the application's [`Metrics`], which are called for each event that is counted. A later call replaces an
    /// earlier one.
    ///
    /// # Panics
    /// If an endpoint has been created already.
    #[must_use]
    #[track_caller]
    pub fn metrics(self, metrics: impl Metrics) -> PondSocket {
        self.configure(|common| common.meter = Meter::new(metrics))
    }

    /// Calls the application's [`Hooks`] for every connection, join and message. A later call replaces an earlier one.
    ///
    /// # Panics
    /// If an endpoint has been created already.
    #[must_use]
    #[track_caller]
    pub fn hooks(self, hooks: impl Hooks) -> PondSocket {
        self.configure(|common| common.hooks = HookSet::new(hooks))
    }

    #[track_caller]
    fn configure(mut self, configure: impl FnOnce(&mut Common)) -> PondSocket {
        // `get_mut` succeeds only while neither an endpoint nor a clone of the server shares the state.
        let common = Arc::get_mut(&mut self.common);
        configure(common.expect("state, metrics and hooks are set before endpoints are created"));
        self
    }

    /// Creates an endpoint: clients connect at paths that match `path`, if the handler accepts them. The first pattern
    /// registered that matches wins. The full original path is matched, as it was sent (docs/protocol.md, Names and
    /// patterns).
    ///
    /// # Panics
    /// If the pattern is invalid, reserved or taken, or a [`State`](crate::State) is missing. See
    /// [`try_create_endpoint`](Self::try_create_endpoint).
    #[track_caller]
    pub fn create_endpoint<M>(&self, path: &str, connect: impl Handler<ConnectionContext, M>) -> Endpoint {
        self.try_create_endpoint(path, connect).or_panic()
    }

    /// Creates an endpoint, like [`create_endpoint`](Self::create_endpoint), with an error in place of a panic.
    ///
    /// # Errors
    /// 400 if the pattern is invalid, or a name that nodes use among themselves (`/__node__`, `/__cluster__`,
    /// `/__heartbeat__`); 409 if it is taken.
    pub fn try_create_endpoint<M>(&self, path: &str, connect: impl Handler<ConnectionContext, M>) -> Result<Endpoint> {
        self.add(path, EndpointKind::Pond(erase(connect, &self.common.states)))
    }

    /// Serves raw WebSockets at paths that match `path`: no PondSocket protocol, the same codec.
    ///
    /// # Panics
    /// If the pattern is invalid, reserved or taken.
    #[track_caller]
    pub fn create_websocket<F, Fut>(&self, path: &str, handler: F) -> Endpoint
    where
        F: Fn(WebSocket) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let kind = EndpointKind::Raw(Arc::new(move |socket| Box::pin(handler(socket))));
        self.add(path, kind).or_panic()
    }

    /// All endpoints, in the order of their registration.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.endpoints.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The name of this node among others; `None` without a bus.
    pub fn node_name(&self) -> Option<String> {
        Some(self.common.node()?.name().to_string())
    }

    /// The names of the other nodes that are alive, as far as is known here, in order. Only nodes of this
    /// implementation have names; those of other languages are not listed.
    pub fn nodes(&self) -> Vec<String> {
        self.common.node().map(|node| node.peers()).unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    /// Returns `true` if new clients should be sent here: the server is not shutting down or about to, and its bus, if
    /// it has one, has not been down for longer than [`unready_without_bus`](crate::Options::unready_without_bus)
    /// allows.
    pub fn is_ready(&self) -> bool {
        !self.is_leaving() && !self.lacks_bus()
    }

    /// Returns `true` if the server is shutting down, or will after a [delay](crate::Shutdown::delay).
    pub(crate) fn is_leaving(&self) -> bool {
        self.common.drain.is_announced()
    }

    fn lacks_bus(&self) -> bool {
        let Some(most) = self.common.options.unready_without_bus else { return false };
        self.common.node().is_some_and(|node| node.down_for() > most)
    }

    /// Prepares for clients: starts the node, if there is a runtime, so that a server that listens is in the cluster before its
    /// first client connects, and reads the history file. Further calls have no effect.
    pub(crate) fn prepare(&self) {
        // The call starts it. Without a bus there is no node.
        let _ = self.common.node();
        if let Some(restart) = &self.common.restart {
            restart.claim();
        }
    }

    /// The first endpoint that matches a path and query, beginning with the `from`-th.
    pub(crate) fn endpoint_for(&self, path_and_query: &str, from: usize) -> Option<(usize, Match, Arc<EndpointInner>)> {
        let endpoints = self.endpoints.read().unwrap_or_else(PoisonError::into_inner);
        let mut rest = endpoints.iter().enumerate().skip(from);
        rest.find_map(|(at, endpoint)| Some((at, endpoint.0.pattern.matches(path_and_query)?, Arc::clone(&endpoint.0))))
    }

    fn add(&self, path: &str, kind: EndpointKind) -> Result<Endpoint> {
        let pattern = parse(path)?;
        if is_reserved_endpoint(endpoint_name(path)) {
            return Err(RegistrationError::Reserved(path.to_owned()).into());
        }
        // Held from the check to the insertion: two registrations of one pattern cannot both succeed.
        let mut endpoints = self.endpoints.write().unwrap_or_else(PoisonError::into_inner);
        check_new("endpoint", &pattern, endpoints.iter().map(|endpoint| &endpoint.0.pattern))?;
        let endpoint = Endpoint(EndpointInner::new(pattern, kind, Arc::clone(&self.common))?);
        GhostLeaves::serve(&endpoint.0);
        EndpointHost::serve(&endpoint.0);
        endpoints.push(endpoint.clone());
        Ok(endpoint)
    }
}
