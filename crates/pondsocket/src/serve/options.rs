//! Limits and timeouts of the standalone server.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "tls")]
use super::Tls;
use crate::error::{Error, Result};

/// The most shards: each is a thread with descriptors of its own, and more than cores are of no use.
const MAX_SHARDS: usize = 1024;

/// Limits and timeouts of a [`Server`](crate::Server), checked once by
/// [`Server::with_options`](crate::Server::with_options). They apply to sockets that are not a WebSocket or an event stream
/// yet; to those the [`Options`](crate::Options) of the pond apply.
///
/// After a timeout the socket is closed without a response. `Duration::MAX` means no timeout.
///
/// ```
/// # use pondsocket::{PondSocket, Server, ServerOptions};
/// # use std::time::Duration;
/// let options = ServerOptions::default().read_timeout(Duration::from_secs(5)).health_path(Some("/healthz"));
/// let server = Server::with_options(PondSocket::new(), options)?;
/// # Ok::<(), pondsocket::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerOptions {
    /// The longest time that a client may take to send the complete head of a request: for the first request from the accept
    /// on, for later ones from their first byte. A PROXY header, and then a TLS handshake, may each take as long before.
    /// Default 10 s.
    pub read_timeout: Duration,
    /// The longest time that a client may take to receive a complete HTTP response. Default 10 s.
    pub write_timeout: Duration,
    /// The longest time that a socket may be idle between a response and the next request. Default 60 s.
    pub idle_timeout: Duration,
    /// The largest head of a request, in bytes; a larger one, or one with more than 100 headers, is answered with 431.
    /// Default 16 KiB: the cookies that a browser sends seldom take more than half of that.
    pub max_header_size: usize,
    /// The most sockets that are not a WebSocket or an event stream yet, and the most requests that are handled at the same
    /// time. At the limit each new socket evicts another one: the one that has been idle after a response for the longest
    /// time; else one from which bytes are awaited, of the address that has the most sockets, if the new socket's address has
    /// fewer (an IPv6 network of 64 bits counts as one address, and a [trusted proxy](crate::Options::trusted_proxies) is not
    /// counted); else one from which bytes have been awaited for longer than [`pressure_timeout`](Self::pressure_timeout). If
    /// there is none, accepting pauses, and new connections wait in the operating system's backlog: clients that all
    /// reconnect at once after a failure are accepted as fast as they can be served. Default 4096: at most 64 MiB of heads.
    /// It should be well below the limit of open files (`ulimit -n`). [Admin listeners](crate::Listener::admin) have a limit
    /// of the same size to themselves.
    pub max_pending: usize,
    /// The number of sockets beyond [`max_pending`](Self::max_pending) that are accepted when none can be evicted, so that
    /// probes are answered even while all other requests take long. Any other request is queued; when the reserve is used
    /// up, too, the one that has been queued for the longest time is answered with 503 and `Retry-After`. Default 64.
    pub pending_reserve: usize,
    /// The time that a client has, even when there are too many sockets, for a handshake, for the rest of a head, or for
    /// receiving a response, before its socket can be evicted in favour of any other address. Default 1 s.
    pub pressure_timeout: Duration,
    /// The time for which [`Server::listen`](crate::Server::listen) waits for connections to end when it stops. Default 30 s.
    pub shutdown_timeout: Duration,
    /// The time between the signal to stop and the drain of [`Server::listen`](crate::Server::listen). During it
    /// [`ready_path`](Self::ready_path) answers 503 and clients are still accepted, so that load balancers can remove the
    /// server before it declines any. Default 0: clients are declined at once.
    pub drain_delay: Duration,
    /// The time over which [`Server::listen`](crate::Server::listen) spreads the closes when it stops, so that not all clients
    /// reconnect at the same moment. Default `None`: 2 s, and more above 10,000 connections, so that at most 5,000 are closed in a
    /// second ([`Shutdown::spread_by_count`](crate::Shutdown::spread_by_count)). In either case at most half of
    /// `shutdown_timeout`.
    pub drain_spread: Option<Duration>,
    /// The path at which `GET` and `HEAD` are answered with 200 `ok` while the process runs. An endpoint at that path takes
    /// precedence. Default `/health`; `None` for no such path.
    pub health_path: Option<String>,
    /// The path at which `GET` and `HEAD` are answered with 200 `ready` while clients are accepted; with 503 `draining` and
    /// `Retry-After` from the signal to stop (see [`drain_delay`](Self::drain_delay)) until the last connection has ended; and
    /// with 503 `the bus is down` after [`unready_without_bus`](crate::Options::unready_without_bus). An endpoint at that path
    /// takes precedence. Default `/ready`; `None` for no such path.
    pub ready_path: Option<String>,
    /// A page with metrics, for scrapers. Every client that reaches the port can read it, as the probes: on a public port
    /// block the path in a proxy, or serve these pages on an [admin listener](crate::Listener::admin). Default none.
    pub metrics: Option<MetricsPage>,
    /// The number of shards: threads that accept, each with a runtime of its own on which the tasks of its connections run.
    /// 0 for none: everything runs on the runtime in which the server was started. Default 0, at most 1024; with shards
    /// usually the number of cores. See the section Shards of docs/operations.md.
    pub shards: usize,
    /// Lets other processes of the same user listen on the port of [`Server::start`](crate::Server::start) and
    /// [`Server::listen`](crate::Server::listen), so that the next process can listen before this one stops: see
    /// [`Listener::bind_reuse_port`](crate::Listener::bind_reuse_port), also for other listeners. Default off: a second
    /// server on the same port is an error.
    pub reuse_port: bool,
    /// The TLS configuration of all listeners that are not [plain](crate::Listener::plain). Default none: no TLS.
    #[cfg(feature = "tls")]
    pub tls: Option<Tls>,
}

/// The path of the metrics page and the function that makes its text: see [`ServerOptions::metrics`].
#[derive(Clone)]
pub struct MetricsPage {
    pub(super) path: String,
    pub(super) text: Arc<dyn Fn() -> String + Send + Sync>,
}

impl fmt::Debug for MetricsPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MetricsPage").field(&self.path).finish()
    }
}

impl Default for ServerOptions {
    fn default() -> Self {
        ServerOptions {
            read_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            max_header_size: 16 * 1024,
            max_pending: 4096,
            pending_reserve: 64,
            pressure_timeout: Duration::from_secs(1),
            shutdown_timeout: Duration::from_secs(30),
            drain_delay: Duration::ZERO,
            drain_spread: None,
            health_path: Some("/health".into()),
            ready_path: Some("/ready".into()),
            metrics: None,
            shards: 0,
            reuse_port: false,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

macro_rules! setters {
    ($($field:ident: $type:ty),* $(,)?) => {
        impl ServerOptions {
            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](Self#structfield.", stringify!($field), ").")]
                #[must_use]
                pub fn $field(mut self, value: $type) -> Self {
                    self.$field = value;
                    self
                }
            )*
        }
    };
}

setters! {
    read_timeout: Duration,
    write_timeout: Duration,
    idle_timeout: Duration,
    max_header_size: usize,
    max_pending: usize,
    pending_reserve: usize,
    pressure_timeout: Duration,
    shutdown_timeout: Duration,
    drain_delay: Duration,
    shards: usize,
    reuse_port: bool,
}

impl ServerOptions {
    /// Sets [`drain_spread`](Self#structfield.drain_spread).
    #[must_use]
    pub fn drain_spread(mut self, spread: Duration) -> Self {
        self.drain_spread = Some(spread);
        self
    }

    /// Sets [`health_path`](Self#structfield.health_path).
    #[must_use]
    pub fn health_path(mut self, path: Option<&str>) -> Self {
        self.health_path = path.map(Into::into);
        self
    }

    /// Sets [`ready_path`](Self#structfield.ready_path).
    #[must_use]
    pub fn ready_path(mut self, path: Option<&str>) -> Self {
        self.ready_path = path.map(Into::into);
        self
    }

    /// Sets [`metrics`](Self#structfield.metrics): `GET` and `HEAD` of this path are answered with this text, which must be in
    /// Prometheus' text format. An endpoint at that path takes precedence. `text` is called for each request, on a task of
    /// the server: it must not block.
    #[must_use]
    pub fn metrics(mut self, path: &str, text: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.metrics = Some(MetricsPage { path: path.to_owned(), text: Arc::new(text) });
        self
    }

    /// Sets [`tls`](Self#structfield.tls).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Checks the options.
    ///
    /// # Errors
    /// 400 for a value that cannot work; the message begins with the name of the field.
    pub fn validate(&self) -> Result<()> {
        let zero = [
            ("read_timeout", self.read_timeout.is_zero()),
            ("write_timeout", self.write_timeout.is_zero()),
            ("idle_timeout", self.idle_timeout.is_zero()),
            ("max_header_size", self.max_header_size == 0),
            ("max_pending", self.max_pending == 0),
            ("pressure_timeout", self.pressure_timeout.is_zero()),
        ];
        if let Some((name, _)) = zero.iter().find(|(_, zero)| *zero) {
            return Err(Error::bad_request(format!("{name} must not be zero")));
        }
        if self.shards > MAX_SHARDS {
            return Err(Error::bad_request(format!("shards must not be more than {MAX_SHARDS}")));
        }
        let mut earlier: Vec<(&str, &str)> = Vec::new();
        for (name, path) in self.paths() {
            if !path.starts_with('/') || path.contains(['?', '#']) {
                return Err(Error::bad_request(format!("{name} must begin with / and have no query")));
            }
            if let Some((other, _)) = earlier.iter().find(|(_, other)| *other == path) {
                return Err(Error::bad_request(format!("{name} must not be {other}")));
            }
            earlier.push((name, path));
        }
        Ok(())
    }

    /// The names and values of the options that are paths.
    fn paths(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let metrics = self.metrics.as_ref().map(|page| &page.path);
        [("health_path", self.health_path.as_ref()), ("ready_path", self.ready_path.as_ref()), ("metrics", metrics)]
            .into_iter()
            .filter_map(|(name, path)| Some((name, path?.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert!(ServerOptions::default().validate().is_ok());
        assert!(ServerOptions::default().health_path(None).ready_path(None).validate().is_ok());
        assert!(ServerOptions::default().shards(1024).validate().is_ok());
    }

    #[test]
    fn invalid_options_are_refused_by_the_name_of_the_field() {
        let options = ServerOptions::default;
        for (options, message) in [
            (options().read_timeout(Duration::ZERO), "read_timeout must not be zero"),
            (options().write_timeout(Duration::ZERO), "write_timeout must not be zero"),
            (options().idle_timeout(Duration::ZERO), "idle_timeout must not be zero"),
            (options().max_header_size(0), "max_header_size must not be zero"),
            (options().max_pending(0), "max_pending must not be zero"),
            (options().pressure_timeout(Duration::ZERO), "pressure_timeout must not be zero"),
            (options().shards(1025), "shards must not be more than 1024"),
            (options().health_path(Some("health")), "health_path must begin with / and have no query"),
            (options().ready_path(Some("/ready?")), "ready_path must begin with / and have no query"),
            (options().ready_path(Some("/health")), "ready_path must not be health_path"),
            (options().metrics("metrics", String::new), "metrics must begin with / and have no query"),
            (options().metrics("/ready", String::new), "metrics must not be ready_path"),
        ] {
            assert_eq!(options.validate().expect_err(message).message(), message);
        }
    }
}
