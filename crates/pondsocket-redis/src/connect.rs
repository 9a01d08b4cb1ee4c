//! Connections to Redis, at the configured address or at the one that sentinels report.

use std::time::Duration;

use pondsocket::cluster::BusError;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisResult, TlsMode,
};
use tokio::time::timeout;

use crate::error::{bus_error, timeout as too_long};
use crate::options::{RedisOptions, SentinelOptions};

/// The time for which the kernel waits for a peer to acknowledge bytes before it closes the socket.
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// The factory of connections. It resolves names and queries the sentinels for each connection, so that it follows a
/// failover.
#[derive(Debug)]
pub(crate) struct Connector {
    options: RedisOptions,
}

impl Connector {
    /// Creates a connector, after all checks that need no network.
    pub(crate) fn new(options: &RedisOptions) -> Result<Connector, BusError> {
        options.validate()?;
        install_crypto(options);
        let connector = Connector { options: options.clone() };
        // Connects nowhere: it parses the address and the certificates, so that errors in them are reported at once.
        connector.direct().map_err(|error| bus_error(&error))?;
        Ok(connector)
    }

    /// Makes a connection for commands, and checks that Redis takes them: it does not while it loads its data, or
    /// without a password that it requires.
    pub(crate) async fn commands(&self) -> Result<MultiplexedConnection, BusError> {
        // The bus applies its own timeouts, after which an answer may still arrive.
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        self.in_time(async {
            let mut connection = self.client().await?.get_multiplexed_async_connection_with_config(&config).await?;
            redis::cmd("PING").exec_async(&mut connection).await?;
            Ok(connection)
        })
        .await
    }

    /// Makes a connection that receives.
    pub(crate) async fn pubsub(&self) -> Result<PubSub, BusError> {
        self.in_time(async { self.client().await?.get_async_pubsub().await }).await
    }

    async fn in_time<T>(&self, connect: impl Future<Output = RedisResult<T>>) -> Result<T, BusError> {
        match timeout(self.options.connect_timeout, connect).await {
            Ok(connected) => connected.map_err(|error| bus_error(&error)),
            Err(_) => Err(too_long("connecting")),
        }
    }

    async fn client(&self) -> RedisResult<Client> {
        match &self.options.sentinel {
            None => self.direct(),
            Some(sentinel) => self.ask(sentinel).await,
        }
    }

    fn direct(&self) -> RedisResult<Client> {
        let options = &self.options;
        let mut redis = RedisConnectionInfo::default().set_db(i64::from(options.db)).set_skip_set_lib_name();
        if let Some(username) = &options.username {
            redis = redis.set_username(username);
        }
        if let Some(password) = &options.password {
            redis = redis.set_password(password);
        }
        let info = address(&options.host, options.port, options.tls)
            .into_connection_info()?
            .set_redis_settings(redis)
            .set_tcp_settings(tcp());
        self.open(info)
    }

    #[cfg(feature = "tls")]
    fn open(&self, info: redis::ConnectionInfo) -> RedisResult<Client> {
        match self.certificates() {
            Some(certificates) => Client::build_with_tls(info, certificates),
            None => Client::open(info),
        }
    }

    #[cfg(not(feature = "tls"))]
    fn open(&self, info: redis::ConnectionInfo) -> RedisResult<Client> {
        Client::open(info)
    }

    #[cfg(feature = "tls")]
    fn certificates(&self) -> Option<redis::TlsCertificates> {
        let root_cert = self.options.ca.clone()?;
        Some(redis::TlsCertificates { client_tls: None, root_cert: Some(root_cert) })
    }

    async fn ask(&self, sentinel: &SentinelOptions) -> RedisResult<Client> {
        let options = &self.options;
        let nodes = sentinel.nodes.iter().map(|(host, port)| address(host, *port, sentinel.tls));
        let mut builder = SentinelClientBuilder::new(nodes, &sentinel.service, SentinelServerType::Master)?
            .set_client_to_redis_db(i64::from(options.db))
            .set_client_to_redis_tcp_settings(tcp())
            .set_client_to_sentinel_tcp_settings(tcp());
        if options.tls {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        }
        if let Some(username) = &options.username {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = &options.password {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(username) = &sentinel.username {
            builder = builder.set_client_to_sentinel_username(username);
        }
        if let Some(password) = &sentinel.password {
            builder = builder.set_client_to_sentinel_password(password);
        }
        #[cfg(feature = "tls")]
        if let Some(certificates) = self.certificates() {
            builder = builder.set_client_to_redis_certificates(certificates.clone());
            builder = builder.set_client_to_sentinel_certificates(certificates);
        }
        builder.build()?.async_get_client().await
    }
}

fn address(host: &str, port: u16, tls: bool) -> ConnectionAddr {
    let host = host.to_owned();
    if tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}

fn tcp() -> TcpSettings {
    // Keepalive detects a dead peer of an idle connection. It does not run while bytes are unacknowledged: the user
    // timeout covers these.
    let keepalive =
        redis::io::tcp::socket2::TcpKeepalive::new().with_time(USER_TIMEOUT).with_interval(USER_TIMEOUT / 5);
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    let settings = settings.set_user_timeout(USER_TIMEOUT);
    settings
}

/// Installs a cryptography provider for the process, unless the application has. Without one the client library would
/// have to choose between those that are compiled in, and panics if there is not exactly one.
#[cfg(feature = "tls")]
fn install_crypto(options: &RedisOptions) {
    let tls = options.tls || options.sentinel.as_ref().is_some_and(|sentinel| sentinel.tls);
    if tls && rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that another thread has installed one meanwhile.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}

#[cfg(not(feature = "tls"))]
fn install_crypto(_: &RedisOptions) {}
