//! The options of the server, from its environment.

use std::env::var;
use std::num::ParseIntError;
use std::str::FromStr;
use std::time::Duration;

use pondsocket::{Error, Options, Result, ServerOptions, Tls};
use tokio::runtime::{Builder, Runtime};

/// Sets the options that are in the environment.
pub(crate) fn from_environment(mut options: Options) -> Result<Options> {
    if let Ok(origin) = var("POND_PAGE_ORIGIN") {
        options = options.cors_allow_origin(origin).cors_allow_credentials(true);
        options = options.cors_allow_headers(["X-Request-ID"]);
    }
    if let Ok(proxies) = var("TRUSTED_PROXIES") {
        options = options.trusted_proxies(proxies.split(','));
    }
    if let Some(bytes) = number("MAX_CHANNEL_PRESENCE")? {
        options = options.max_channel_presence(bytes);
    }
    if let Some(bytes) = number("MAX_PRESENCE_LIST")? {
        options = options.max_presence_list(bytes);
    }
    if let Some(milliseconds) = number("PING_INTERVAL_MS")? {
        options = options.ping_interval(Duration::from_millis(milliseconds));
    }
    if let Some(milliseconds) = number("PONG_WAIT_MS")? {
        options = options.pong_wait(Duration::from_millis(milliseconds));
    }
    if let Some(bytes) = number("HISTORY_BYTES")? {
        options = options.history_bytes(bytes);
    }
    if let Some(arrivals) = number("ARRIVALS_PER_ROUND")? {
        options = options.arrivals_per_round(arrivals);
    }
    if let Ok(path) = var("HISTORY_FILE") {
        options = options.history_file(path);
    }
    if is_on("COMPRESSION") {
        options = options.enable_compression(true);
    }
    Ok(options)
}

/// Returns `true` if a variable is `on`.
pub(crate) fn is_on(name: &str) -> bool {
    var(name).is_ok_and(|value| value == "on")
}

/// Sets the options of the standalone server that are in the environment.
pub(crate) fn of_server(mut options: ServerOptions) -> Result<ServerOptions> {
    if let Some(shards) = number("SHARDS")? {
        options = options.shards(shards);
    }
    match (var("TLS_CERTIFICATE"), var("TLS_KEY")) {
        (Ok(certificate), Ok(key)) => Ok(options.tls(Tls::from_pem_files(certificate, key)?)),
        _ => Ok(options),
    }
}

/// The runtime in which the server is started.
pub(crate) fn runtime() -> Result<Runtime> {
    let mut builder = match number("SHARDS")? {
        None | Some(0_usize) => Builder::new_multi_thread(),
        // The shards have threads of their own.
        Some(_) => Builder::new_current_thread(),
    };
    // By default a worker seldom polls the global queue, where woken delivery tasks of other threads would wait.
    builder.enable_all().global_queue_interval(number("GLOBAL_QUEUE_INTERVAL")?.unwrap_or(1));
    if let Some(ticks) = number("EVENT_INTERVAL")? {
        builder.event_interval(ticks);
    }
    #[cfg(tokio_unstable)]
    if var("LIFO_SLOT").is_ok_and(|value| value == "off") {
        builder.disable_lifo_slot();
    }
    builder.build().map_err(Error::internal)
}

pub(crate) fn number<T: FromStr<Err = ParseIntError>>(name: &str) -> Result<Option<T>> {
    let number = var(name).ok().map(|number| number.parse().map_err(Error::internal));
    number.transpose()
}
