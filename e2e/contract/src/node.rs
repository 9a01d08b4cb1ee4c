//! The bus and the node's options, from the environment.

use std::env::var;
use std::time::Duration;

use pondsocket::{Error, Options, Result};
use pondsocket_redis::{RedisBus, RedisOptions, SentinelOptions};

/// Sets the bus and the options of a node, if the environment names a Redis.
pub(crate) fn with_bus(options: Options) -> Result<Options> {
    let Some(mut redis) = redis()? else { return Ok(options) };
    if let Ok(namespace) = var("NAMESPACE") {
        redis = redis.namespace(namespace);
    }
    let bus = RedisBus::new(redis).map_err(Error::internal)?;
    let mut options = options.bus(bus).node_name(var("NODE_NAME").unwrap_or_default());
    options.node_heartbeat = time("HEARTBEAT_MS")?.unwrap_or(options.node_heartbeat);
    options.node_timeout = time("HEARTBEAT_TIMEOUT_MS")?.unwrap_or(options.node_timeout);
    Ok(options)
}

fn time(name: &str) -> Result<Option<Duration>> {
    let Ok(text) = var(name) else { return Ok(None) };
    let milliseconds = text.parse().map_err(|_| Error::new(500, format!("{name} must be a number of milliseconds")))?;
    Ok(Some(Duration::from_millis(milliseconds)))
}

fn redis() -> Result<Option<RedisOptions>> {
    if let Ok(sentinels) = var("REDIS_SENTINELS") {
        let primary = var("REDIS_PRIMARY").unwrap_or_else(|_| "main".into());
        let sentinels = sentinels.split(',').map(host_and_port).collect::<Result<Vec<_>>>()?;
        return Ok(Some(RedisOptions::default().sentinel(SentinelOptions::new(primary, sentinels))));
    }
    let Ok(url) = var("REDIS_URL") else { return Ok(None) };
    RedisOptions::url(&url).map(Some).map_err(Error::internal)
}

fn host_and_port(text: &str) -> Result<(&str, u16)> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    parts.ok_or_else(|| Error::new(500, "REDIS_SENTINELS must be HOST:PORT,HOST:PORT..."))
}
