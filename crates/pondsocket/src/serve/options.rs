use std::fmt;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "tls")]
use super::Tls;
use crate::error::{Error, Result};

/// Limits and timeouts of a [`Server`](crate::Server), checked once by
/// [`Server::with_options`](crate::Server::with_options). They protect it from clients that have not become WebSockets
/// yet and never cut one that has: those have the [`Options`](crate::Options) of the pond.
///
/// Over a timeout the connection is closed without an answer. `Duration::MAX` is never reached.
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
    /// The longest time that a client may take to send the whole head of a request, from when it is accepted, and for
    /// later requests from their first byte. With TLS, the handshake may take as long before. Default 10 s.
    pub read_timeout: Duration,
    /// The longest time that a client may take to receive the whole of an HTTP answer. Default 10 s.
    pub write_timeout: Duration,
    /// The longest time that a client that has been answered may keep its connection without another request. Default
    /// 60 s.
    pub idle_timeout: Duration,
    /// The largest head of a request, in bytes; over it, or with more than 100 headers, the answer is 431. Default 16
    /// KiB: all the cookies that a browser sends seldom are more than half of that.
    pub max_header_size: usize,
    /// The most connections that are no WebSockets or event streams yet. Over it each newcomer takes the
    /// place of somebody who is waited for: of the one that has asked nothing more for the longest time; else of one of
    /// the address that has the most places, if the newcomer's has fewer (of IPv6 a network of 64 bits counts as one
    /// address, and a [trusted proxy](crate::Options::trusted_proxies) is not counted); else of one that has been
    /// waited for longer than [`pressure_timeout`](Self::pressure_timeout). Only if there is nobody like that,
    /// accepting pauses, and newcomers wait in the operating system's queue: so clients that all come back at once
    /// after a failure are let in as fast as they can be served. As many requests are answered at the same time.
    /// Default 4096: at most 64 MiB of heads. It should be well below the limit of open files (`ulimit -n`). Listeners
    /// for [probes](crate::Listener::admin) have as many places of their own.
    pub max_pending: usize,
    /// The number of connections beyond [`max_pending`](Self::max_pending) are accepted when nobody can be asked to go,
    /// for probes: these are answered at once, also while all other requests take long. A request that is no probe
    /// waits there for its turn; when these places are taken, too, it is answered 503 with `Retry-After`. Default 64.
    pub pending_reserve: usize,
    /// For how long a client that has to be waited for is waited for at the least while there are too many: for a
    /// handshake, for the rest of a head, for an answer to be taken. Default 1 s.
    pub pressure_timeout: Duration,
    /// The time for which [`Server::listen`](crate::Server::listen) waits for clients to go when it is told to stop.
    /// Default 30 s.
    pub shutdown_timeout: Duration,
    /// The time for which [`Server::listen`](crate::Server::listen) goes on when it is told to stop, before anything
    /// else: [`ready_path`](Self::ready_path) answers 503 from the beginning, newcomers are let in until the end. Load
    /// balancers that ask, or have to be told, have this time. Default 0: they are refused at once.
    pub drain_delay: Duration,
    /// Over how long the closes are spread when [`Server::listen`](crate::Server::listen) stops, so that not all
    /// clients come back at the same moment. Default 2 s.
    pub drain_spread: Duration,
    /// The path where `GET` and `HEAD` are answered with 200 `ok` while the process lives, unless an endpoint takes
    /// that path. Default `/health`; `None` for nowhere.
    pub health_path: Option<String>,
    /// The path where they are answered with 200 `ready` while clients are let in, and with 503 `draining` and
    /// `Retry-After` from when the server is told to stop (see [`drain_delay`](Self::drain_delay)) until its last
    /// client has gone, unless an endpoint takes that path. Default `/ready`; `None` for nowhere.
    pub ready_path: Option<String>,
    /// A page with metrics, for a scrape. It is answered to whoever reaches the port, as probes are: where that is the
    /// whole world, keep it from the path with a proxy, or give these pages [a listener](crate::Listener::admin) of
    /// their own. Default none.
    pub metrics: Option<MetricsPage>,
    /// Speak TLS, and nothing else. Default none.
    #[cfg(feature = "tls")]
    pub tls: Option<Tls>,
}

/// The path where metrics are shown, and their text: see [`ServerOptions::metrics`].
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
            drain_spread: Duration::from_secs(2),
            health_path: Some("/health".into()),
            ready_path: Some("/ready".into()),
            metrics: None,
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
    drain_spread: Duration,
}

impl ServerOptions {
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

    /// Sets [`metrics`](Self#structfield.metrics): `GET` and `HEAD` of this path are answered with this text, in
    /// Prometheus' text format, unless an endpoint takes the path. `text` is called for each request, on a task of the
    /// server: it must not wait.
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

    /// Refuses what cannot work.
    ///
    /// # Errors
    /// The message names the field.
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
        let mut taken: Vec<(&str, &str)> = Vec::new();
        for (name, path) in self.paths() {
            if !path.starts_with('/') || path.contains(['?', '#']) {
                return Err(Error::bad_request(format!("{name} must begin with / and have no query")));
            }
            if let Some((other, _)) = taken.iter().find(|(_, other)| *other == path) {
                return Err(Error::bad_request(format!("{name} must not be {other}")));
            }
            taken.push((name, path));
        }
        Ok(())
    }

    /// The requests that the server itself answers.
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
    }

    #[test]
    fn nonsense_is_refused_and_the_field_named() {
        let options = ServerOptions::default;
        for (options, message) in [
            (options().read_timeout(Duration::ZERO), "read_timeout must not be zero"),
            (options().write_timeout(Duration::ZERO), "write_timeout must not be zero"),
            (options().idle_timeout(Duration::ZERO), "idle_timeout must not be zero"),
            (options().max_header_size(0), "max_header_size must not be zero"),
            (options().max_pending(0), "max_pending must not be zero"),
            (options().pressure_timeout(Duration::ZERO), "pressure_timeout must not be zero"),
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
