//! The options of the server, from its environment.

use std::env::var;
use std::num::ParseIntError;
use std::str::FromStr;
use std::time::Duration;

use pondsocket::{Error, Options, Result, ServerOptions, Tls};

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
    if var("COMPRESSION").is_ok_and(|value| value == "on") {
        options = options.enable_compression(true);
    }
    Ok(options)
}

/// Adds TLS, if the environment has a certificate.
pub(crate) fn with_tls(options: ServerOptions) -> Result<ServerOptions> {
    match (var("TLS_CERTIFICATE"), var("TLS_KEY")) {
        (Ok(certificate), Ok(key)) => Ok(options.tls(Tls::from_pem_files(certificate, key)?)),
        _ => Ok(options),
    }
}

fn number<T: FromStr<Err = ParseIntError>>(name: &str) -> Result<Option<T>> {
    let number = var(name).ok().map(|number| number.parse().map_err(Error::internal));
    number.transpose()
}
