use std::time::Duration;

use crate::error::{Error, Result};

/// Limits and timeouts of a [`PondSocket`](crate::PondSocket), checked once by
/// [`PondSocket::with_options`](crate::PondSocket::with_options).
///
/// ```
/// # use pondsocket::{Options, PondSocket};
/// # use std::time::Duration;
/// let options = Options::default().max_message_size(64 * 1024).ping_interval(Duration::from_secs(20));
/// let pond = PondSocket::with_options(options)?;
/// # Ok::<(), pondsocket::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The largest message a client may send, in bytes; a frame may not be larger either, nor a message once it
    /// is inflated. Over it the connection is closed with 1009. Default 512 KiB.
    pub max_message_size: usize,
    /// Whether to agree to permessage-deflate (RFC 7692) when a client offers it. Default off: small messages gain
    /// little, and each compressed message costs some microseconds, once for all its receivers.
    pub enable_compression: bool,
    /// How often a WebSocket ping is sent. Default 30 s.
    pub ping_interval: Duration,
    /// How long a connection may be silent, not even answering pings, before it is dropped. Default 60 s.
    pub pong_wait: Duration,
    /// How long a client may accept no byte of what waits for it before it is dropped. It is also how long a close
    /// handshake, and a full receive queue, may take. Default 10 s.
    pub write_wait: Duration,
    /// How long more than `send_channel_buffer` messages or `outbox_bytes` may wait for a client. Default 5 s.
    pub send_timeout: Duration,
    /// How many messages may wait for a client that does not keep up. Over it for `send_timeout`, or over four
    /// times as many at any moment, the client is disconnected with 1013. Default 256.
    pub send_channel_buffer: usize,
    /// The same in bytes. Default 1 MiB.
    pub outbox_bytes: usize,
    /// How many messages of one connection may wait for their handlers. Over it the connection is not read, and
    /// TCP slows the client down. Default 256.
    pub receive_channel_buffer: usize,
    /// How many handlers of one connection run at once, each for another channel. Default 10.
    pub max_concurrent_handlers: usize,
    /// How long a handler may run before it is cancelled at its next await and the caller is told 504. Default 30 s.
    pub handler_timeout: Duration,
    /// The longest channel name, in bytes; a join of a longer one is declined. Default 512.
    pub max_channel_name: usize,
    /// How many messages may wait in a channel for delivery before the connections that publish into it are not
    /// read any more. At four times as many a broadcast is refused. Default 4096.
    pub channel_queue: usize,
    /// The same in bytes. Default 4 MiB.
    pub channel_queue_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            max_message_size: 512 * 1024,
            enable_compression: false,
            ping_interval: Duration::from_secs(30),
            pong_wait: Duration::from_secs(60),
            write_wait: Duration::from_secs(10),
            send_timeout: Duration::from_secs(5),
            send_channel_buffer: 256,
            outbox_bytes: 1024 * 1024,
            receive_channel_buffer: 256,
            max_concurrent_handlers: 10,
            handler_timeout: Duration::from_secs(30),
            max_channel_name: 512,
            channel_queue: 4096,
            channel_queue_bytes: 4 * 1024 * 1024,
        }
    }
}

macro_rules! setters {
    ($($field:ident: $type:ty),* $(,)?) => {
        impl Options {
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
    max_message_size: usize,
    enable_compression: bool,
    ping_interval: Duration,
    pong_wait: Duration,
    write_wait: Duration,
    send_timeout: Duration,
    send_channel_buffer: usize,
    outbox_bytes: usize,
    receive_channel_buffer: usize,
    max_concurrent_handlers: usize,
    handler_timeout: Duration,
    max_channel_name: usize,
    channel_queue: usize,
    channel_queue_bytes: usize,
}

impl Options {
    /// Refuses what cannot work.
    ///
    /// # Errors
    /// The message names the field.
    pub fn validate(&self) -> Result<()> {
        let positive = [
            ("max_message_size", self.max_message_size),
            ("send_channel_buffer", self.send_channel_buffer),
            ("outbox_bytes", self.outbox_bytes),
            ("receive_channel_buffer", self.receive_channel_buffer),
            ("max_concurrent_handlers", self.max_concurrent_handlers),
            ("max_channel_name", self.max_channel_name),
            ("channel_queue", self.channel_queue),
            ("channel_queue_bytes", self.channel_queue_bytes),
        ];
        let lasting = [
            ("ping_interval", self.ping_interval),
            ("pong_wait", self.pong_wait),
            ("write_wait", self.write_wait),
            ("send_timeout", self.send_timeout),
            ("handler_timeout", self.handler_timeout),
        ];
        let zero = positive.iter().find(|(_, value)| *value == 0).map(|(name, _)| name);
        let zero = zero.or(lasting.iter().find(|(_, value)| value.is_zero()).map(|(name, _)| name));
        if let Some(name) = zero {
            return Err(Error::bad_request(format!("{name} must not be zero")));
        }
        if self.pong_wait < self.ping_interval {
            return Err(Error::bad_request("pong_wait must not be shorter than ping_interval"));
        }
        Ok(())
    }
}

/// What one endpoint does differently from its [`PondSocket`](crate::PondSocket)'s [`Options`]: `None` keeps those.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndpointOptions {
    /// Overrides [`Options::max_message_size`].
    pub max_message_size: Option<usize>,
    /// Overrides [`Options::enable_compression`].
    pub enable_compression: Option<bool>,
}

impl EndpointOptions {
    pub(crate) fn apply(self, options: &Options) -> Options {
        let mut options = options.clone();
        options.max_message_size = self.max_message_size.unwrap_or(options.max_message_size);
        options.enable_compression = self.enable_compression.unwrap_or(options.enable_compression);
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert!(Options::default().validate().is_ok());
    }

    #[test]
    fn nonsense_is_refused_and_the_field_named() {
        let zero = Options::default().ping_interval(Duration::ZERO).validate().expect_err("zero");
        assert_eq!(zero.message(), "ping_interval must not be zero");
        let queue = Options::default().channel_queue(0).validate().expect_err("zero");
        assert_eq!(queue.message(), "channel_queue must not be zero");
        let short = Options::default().pong_wait(Duration::from_secs(1)).validate().expect_err("too short");
        assert_eq!(short.message(), "pong_wait must not be shorter than ping_interval");
    }
}
