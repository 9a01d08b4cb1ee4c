//! Options of the bus: the address of Redis, the credentials, and the limits of what the bus keeps.

use std::fmt;
use std::time::Duration;

use pondsocket::cluster::{BusError, BusErrorKind};
use redis::{ConnectionAddr, IntoConnectionInfo};

/// The largest accepted value of any time. A larger one is most likely in the wrong unit.
const MAX_TIME: Duration = Duration::from_secs(3600);

/// Options to reach Redis. Built by chaining, or from an address with [`url`](Self::url), and checked by
/// [`RedisBus::new`](crate::RedisBus::new).
///
/// ```
/// use pondsocket_redis::{RedisBus, RedisOptions};
///
/// let options = RedisOptions::default().host("10.0.0.7").password("secret").namespace("shop");
/// let bus = RedisBus::new(options)?;
///
/// let error = RedisBus::new(RedisOptions::default().port(0)).unwrap_err();
/// assert_eq!(error.detail(), "port must not be zero");
/// # Ok::<(), pondsocket::cluster::BusError>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct RedisOptions {
    /// A name or an address. With `sentinel` it is not used. Default `127.0.0.1`.
    pub host: String,
    /// Default 6379.
    pub port: u16,
    /// The ACL user; `None` is the user `default`. Default none.
    pub username: Option<String>,
    /// Default none.
    pub password: Option<String>,
    /// The database of the table of leases, the same for all nodes. It does *not* separate messages: pub/sub has no
    /// databases. Default 0.
    pub db: u32,
    /// TLS, which needs the feature `tls`. Default off.
    pub tls: bool,
    /// Certificates to trust, as PEM, in place of those of the system. Default none.
    pub ca: Option<Vec<u8>>,
    /// The prefix of all topics. Servers in other languages have `pondsocket`, which is the default.
    pub prefix: String,
    /// Nodes see each other if they have the same prefix and namespace. Default `default`.
    pub namespace: String,
    /// The sentinels that know the primary's address. Default none.
    pub sentinel: Option<SentinelOptions>,
    /// The longest time to make a connection, with its greeting. Default 2 s.
    pub connect_timeout: Duration,
    /// The longest wait for the answer to a command. The outcome is unknown afterwards. Default 2 s.
    pub command_timeout: Duration,
    /// The silence after which the bus sends a message to itself, and the longest time for that message to arrive
    /// before both connections are given up. Default 5 s.
    pub probe_interval: Duration,
    /// The largest message, in bytes. Default 8 MiB.
    pub max_payload: usize,
    /// The most messages that may wait for Redis. Over it [`NotSent`](pondsocket::cluster::Outcome::NotSent). Default
    /// 10,000.
    pub queue_messages: usize,
    /// The most bytes of these messages. Default 16 MiB.
    pub queue_bytes: usize,
    /// Loads [`FUNCTIONS`](crate::FUNCTIONS) into Redis 7 or newer with each connection, unless they are there in this version or a newer
    /// one, for programs that publish without being nodes. If that fails it is logged, and the bus works all the same. Default off.
    pub functions: bool,
}

/// The sentinels that know the primary's address. They are queried at each attempt to connect.
#[derive(Clone)]
#[non_exhaustive]
pub struct SentinelOptions {
    /// Hosts and ports, queried in this order until one answers.
    pub nodes: Vec<(String, u16)>,
    /// The name of the primary at the sentinels.
    pub service: String,
    /// The username for the sentinels, separate from the one for Redis. Default none.
    pub username: Option<String>,
    /// Default none.
    pub password: Option<String>,
    /// TLS to the sentinels. Default off.
    pub tls: bool,
}

impl Default for RedisOptions {
    fn default() -> RedisOptions {
        RedisOptions {
            host: "127.0.0.1".into(),
            port: 6379,
            username: None,
            password: None,
            db: 0,
            tls: false,
            ca: None,
            prefix: "pondsocket".into(),
            namespace: "default".into(),
            sentinel: None,
            connect_timeout: Duration::from_secs(2),
            command_timeout: Duration::from_secs(2),
            probe_interval: Duration::from_secs(5),
            max_payload: 8 * 1024 * 1024,
            queue_messages: 10_000,
            queue_bytes: 16 * 1024 * 1024,
            functions: false,
        }
    }
}

macro_rules! setters {
    ($($field:ident: $type:ty => $value:ident => $stored:expr;)*) => {
        $(
            #[doc = concat!("Sets [`", stringify!($field), "`](Self#structfield.", stringify!($field), ").")]
            #[must_use]
            pub fn $field(mut self, $value: $type) -> Self {
                self.$field = $stored;
                self
            }
        )*
    };
}

impl RedisOptions {
    /// Options from an address, `redis://user:password@host:port/db`; `rediss://` for TLS. Only the host is required.
    /// Special characters in a user name or a password are percent-encoded. All other options have their defaults.
    ///
    /// # Errors
    /// [`Config`](BusErrorKind::Config) if the address is invalid. The message does not repeat the address, which may
    /// contain a password.
    pub fn url(url: &str) -> Result<RedisOptions, BusError> {
        let invalid = |what: &str| BusError::new(BusErrorKind::Config, format!("url {what}"));
        if !cfg!(feature = "tls") && url.starts_with("rediss:") {
            return Err(invalid("requires TLS: build with the feature `tls`"));
        }
        let info =
            url.into_connection_info().map_err(|error| invalid(&format!("is not understood: {}", error.category())))?;
        let (host, port, tls) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => (host, *port, false),
            ConnectionAddr::TcpTls { insecure: true, .. } => return Err(invalid("must not disable TLS checks")),
            ConnectionAddr::TcpTls { host, port, .. } => (host, *port, true),
            _ => return Err(invalid("must begin with redis:// or rediss://")),
        };
        let redis = info.redis_settings();
        let db = u32::try_from(redis.db()).map_err(|_| invalid("has a database that is not a number"))?;
        let (username, password) = (redis.username().map(str::to_owned), redis.password().map(str::to_owned));
        Ok(RedisOptions { host: host.clone(), port, tls, db, username, password, ..Default::default() })
    }

    setters! {
        host: impl Into<String> => host => host.into();
        port: u16 => port => port;
        username: impl Into<String> => username => Some(username.into());
        password: impl Into<String> => password => Some(password.into());
        db: u32 => db => db;
        tls: bool => tls => tls;
        ca: impl Into<Vec<u8>> => pem => Some(pem.into());
        prefix: impl Into<String> => prefix => prefix.into();
        namespace: impl Into<String> => namespace => namespace.into();
        sentinel: SentinelOptions => sentinel => Some(sentinel);
        connect_timeout: Duration => timeout => timeout;
        command_timeout: Duration => timeout => timeout;
        probe_interval: Duration => interval => interval;
        max_payload: usize => bytes => bytes;
        queue_messages: usize => messages => messages;
        queue_bytes: usize => bytes => bytes;
        functions: bool => load => load;
    }

    /// Checks the options.
    ///
    /// # Errors
    /// [`Config`](BusErrorKind::Config); the message names the field.
    pub fn validate(&self) -> Result<(), BusError> {
        let invalid = self.invalid();
        invalid.map_or(Ok(()), |invalid| Err(BusError::new(BusErrorKind::Config, invalid)))
    }

    fn invalid(&self) -> Option<String> {
        let texts = [("host", &self.host), ("prefix", &self.prefix), ("namespace", &self.namespace)];
        let counts = [
            ("port", usize::from(self.port)),
            ("max_payload", self.max_payload),
            ("queue_messages", self.queue_messages),
            ("queue_bytes", self.queue_bytes),
        ];
        let times = [
            ("connect_timeout", self.connect_timeout),
            ("command_timeout", self.command_timeout),
            ("probe_interval", self.probe_interval),
        ];
        if let Some((name, _)) = texts.iter().find(|(_, text)| text.is_empty()) {
            return Some(format!("{name} must not be empty"));
        }
        if let Some((name, _)) = texts[1..].iter().find(|(_, text)| text.contains(char::is_whitespace)) {
            return Some(format!("{name} must not contain white space"));
        }
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Some(format!("{name} must not be zero"));
        }
        if let Some((name, _)) = times.iter().find(|(_, time)| time.is_zero() || *time > MAX_TIME) {
            return Some(format!("{name} must be more than zero, and at most an hour"));
        }
        // The default limit of Redis for a bulk string (`proto-max-bulk-len`).
        if self.max_payload > 512 * 1024 * 1024 {
            return Some("max_payload must not be more than 512 MiB".into());
        }
        if self.max_payload > self.queue_bytes {
            return Some("queue_bytes must not be less than max_payload".into());
        }
        if self.username.is_some() && self.password.is_none() {
            return Some("username needs a password".into());
        }
        let wants_tls = self.tls || self.ca.is_some() || self.sentinel.as_ref().is_some_and(|sentinel| sentinel.tls);
        if wants_tls && !cfg!(feature = "tls") {
            return Some("tls needs the feature `tls`".into());
        }
        if self.ca.is_some() && !self.tls {
            return Some("ca needs tls".into());
        }
        self.sentinel.as_ref().and_then(SentinelOptions::invalid)
    }
}

impl SentinelOptions {
    /// The sentinels at these addresses, and their name for the primary.
    pub fn new<H: Into<String>>(
        service: impl Into<String>,
        nodes: impl IntoIterator<Item = (H, u16)>,
    ) -> SentinelOptions {
        SentinelOptions {
            nodes: nodes.into_iter().map(|(host, port)| (host.into(), port)).collect(),
            service: service.into(),
            username: None,
            password: None,
            tls: false,
        }
    }

    setters! {
        username: impl Into<String> => username => Some(username.into());
        password: impl Into<String> => password => Some(password.into());
        tls: bool => tls => tls;
    }

    fn invalid(&self) -> Option<String> {
        if self.service.is_empty() {
            return Some("sentinel.service must not be empty".into());
        }
        let useless = self.nodes.is_empty() || self.nodes.iter().any(|(host, port)| host.is_empty() || *port == 0);
        useless.then(|| "sentinel.nodes must have hosts and ports".into())
    }
}

/// Shows the options without the passwords.
impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("username", &self.username)
            .field("db", &self.db)
            .field("tls", &self.tls)
            .field("prefix", &self.prefix)
            .field("namespace", &self.namespace)
            .field("sentinel", &self.sentinel)
            .finish_non_exhaustive()
    }
}

/// Shows the options without the password.
impl fmt::Debug for SentinelOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentinelOptions")
            .field("nodes", &self.nodes)
            .field("service", &self.service)
            .field("username", &self.username)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invalid(options: RedisOptions) -> String {
        options.validate().expect_err("invalid options").detail().to_owned()
    }

    #[test]
    fn an_address_sets_all_its_options() {
        let options = RedisOptions::url("redis://ada:p%40ss@redis.example.org:7000/3").expect("an address");
        assert_eq!((&*options.host, options.port, options.db), ("redis.example.org", 7000, 3));
        assert_eq!((options.username.as_deref(), options.password.as_deref()), (Some("ada"), Some("p@ss")));
        let short = RedisOptions::url("redis://localhost").expect("an address");
        assert_eq!((&*short.host, short.port, short.password), ("localhost", 6379, None));
        assert!(RedisOptions::default().validate().is_ok() && !format!("{options:?}").contains("p@ss"));
    }

    #[test]
    fn an_invalid_address_is_refused_without_repeating_it() {
        for wrong in ["", "localhost", "http://:hunter2@x", "redis://", "redis://:hunter2@x:99999", "unix:///tmp/redis"]
        {
            let error = RedisOptions::url(wrong).expect_err(wrong);
            assert_eq!(error.kind(), BusErrorKind::Config);
            assert!(error.detail().starts_with("url ") && !error.detail().contains("hunter2"), "{error}");
        }
        #[cfg(not(feature = "tls"))]
        assert!(RedisOptions::url("rediss://x").expect_err("no TLS").detail().contains("feature `tls`"));
    }

    #[test]
    fn a_mistake_names_its_field() {
        let options = RedisOptions::default;
        assert_eq!(invalid(options().host("")), "host must not be empty");
        assert_eq!(invalid(options().namespace("a b")), "namespace must not contain white space");
        assert_eq!(invalid(options().queue_messages(0)), "queue_messages must not be zero");
        assert_eq!(
            invalid(options().max_payload(1 << 30).queue_bytes(1 << 31)),
            "max_payload must not be more than 512 MiB"
        );
        assert_eq!(invalid(options().queue_bytes(1)), "queue_bytes must not be less than max_payload");
        assert_eq!(invalid(options().username("ada")), "username needs a password");
        let never = invalid(options().connect_timeout(Duration::ZERO));
        assert_eq!(never, "connect_timeout must be more than zero, and at most an hour");
        let no_nodes: [(&str, u16); 0] = [];
        let without_nodes = invalid(options().sentinel(SentinelOptions::new("main", no_nodes)));
        assert_eq!(without_nodes, "sentinel.nodes must have hosts and ports");
    }
}
