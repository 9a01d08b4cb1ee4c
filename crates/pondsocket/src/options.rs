//! Limits and timeouts: what they mean, their defaults, and what happens beyond them.

use std::time::Duration;

use http::HeaderName;
use pondsocket_proto::channel::SlowClient;

use crate::cluster::SharedBus;
use crate::error::{Error, Result};
use crate::limits::address::Proxies;
use crate::limits::origin::Origins;

/// Declares the options once: the struct with its defaults, a setter for each, and for those above the line what one
/// endpoint may do differently. The setter of a `(list)` takes whatever yields texts.
macro_rules! options {
    (
        endpoint { $($(#[$doc:meta])* $field:ident $(($kind:ident))?: $type:ty = $default:expr,)* }
        shared { $($(#[$shared_doc:meta])* $shared:ident $(($shared_kind:ident))?: $shared_type:ty = $shared_default:expr,)* }
    ) => {
        /// Limits and timeouts of a [`PondSocket`](crate::PondSocket), checked once by
        /// [`PondSocket::with_options`](crate::PondSocket::with_options).
        ///
        /// ```
        /// # use pondsocket::{Options, PondSocket};
        /// # use std::time::Duration;
        /// let options = Options::default()
        ///     .max_message_size(64 * 1024)
        ///     .ping_interval(Duration::from_secs(20))
        ///     .allowed_origins(["https://example.com", "capacitor://localhost"]);
        /// let pond = PondSocket::with_options(options)?;
        /// # Ok::<(), pondsocket::Error>(())
        /// ```
        #[derive(Clone, Debug)]
        #[non_exhaustive]
        pub struct Options {
            $($(#[$doc])* pub $field: $type,)*
            $($(#[$shared_doc])* pub $shared: $shared_type,)*
            /// The bus that joins this server to others ([`cluster`](crate::cluster)). Default none: it is alone.
            pub bus: Option<SharedBus>,
        }

        impl Default for Options {
            fn default() -> Self {
                Options { $($field: $default,)* $($shared: $shared_default,)* bus: None }
            }
        }

        impl Options {
            $(options!(setter $field $(($kind))?: $type);)*
            $(options!(setter $shared $(($shared_kind))?: $shared_type);)*

            /// Sets [`bus`](Self#structfield.bus): this server is a node among others from now on.
            #[must_use]
            pub fn bus(self, bus: impl Into<SharedBus>) -> Self {
                Options { bus: Some(bus.into()), ..self }
            }
        }

        /// Options of one endpoint that differ from its [`PondSocket`](crate::PondSocket)'s [`Options`]: `None` keeps
        /// those.
        ///
        /// ```
        /// # use pondsocket::{ConnectionContext, EndpointOptions, Error, PondSocket, SlowClient};
        /// let pond = PondSocket::new();
        /// let ticker = EndpointOptions::default().slow_client(SlowClient::DropOldest).subprotocols(["ticker.v2",
        /// "ticker"]); pond.create_endpoint("/ticker", async |ctx: ConnectionContext| Ok::<_,
        /// Error>(ctx.accept())).options(ticker);
        /// ```
        #[derive(Clone, Debug, Default)]
        pub struct EndpointOptions {
            $(
                #[doc = concat!("Overrides [`Options::", stringify!($field), "`].")]
                pub $field: Option<$type>,
            )*
        }

        impl EndpointOptions {
            $(options!(own $field $(($kind))?: $type);)*

            /// These options over those of the whole `PondSocket`.
            pub(crate) fn over(self, options: &Options) -> Options {
                let mut options = options.clone();
                $(if let Some(value) = self.$field { options.$field = value; })*
                options
            }
        }
    };
    (setter check_origin: $type:ty) => {
        /// Sets [`check_origin`](Self#structfield.check_origin); `true` is [`CheckOrigin::Always`], and `false` is
        /// [`CheckOrigin::Off`].
        #[must_use]
        pub fn check_origin(mut self, value: impl Into<CheckOrigin>) -> Self {
            self.check_origin = value.into();
            self
        }
    };
    (setter $field:ident (list): $type:ty) => {
        #[doc = concat!("Sets [`", stringify!($field), "`](Self#structfield.", stringify!($field), ").")]
        #[must_use]
        pub fn $field(mut self, values: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
            self.$field = owned(values);
            self
        }
    };
    (setter $field:ident: $type:ty) => {
        #[doc = concat!("Sets [`", stringify!($field), "`](Self#structfield.", stringify!($field), ").")]
        #[must_use]
        pub fn $field(mut self, value: $type) -> Self {
            self.$field = value;
            self
        }
    };
    (own check_origin: $type:ty) => {
        /// Overrides [`Options::check_origin`]; `true` is [`CheckOrigin::Always`], and `false` is [`CheckOrigin::Off`].
        #[must_use]
        pub fn check_origin(mut self, value: impl Into<CheckOrigin>) -> Self {
            self.check_origin = Some(value.into());
            self
        }
    };
    (own $field:ident (list): $type:ty) => {
        #[doc = concat!("Overrides [`Options::", stringify!($field), "`].")]
        #[must_use]
        pub fn $field(mut self, values: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
            self.$field = Some(owned(values));
            self
        }
    };
    (own $field:ident: $type:ty) => {
        #[doc = concat!("Overrides [`Options::", stringify!($field), "`].")]
        #[must_use]
        pub fn $field(mut self, value: $type) -> Self {
            self.$field = Some(value);
            self
        }
    };
}

options! {
    endpoint {
        /// Requests that come in only if the web page that makes them may be here: by [`CheckOrigin`]. Pages of the
        /// server's own host and port may, which are compared with `Host` and with the host that a trusted proxy names;
        /// and those of `allowed_origins` and `allowed_origin_regexps`. Any other is answered with 403, before the
        /// connection handler runs. Default [`CheckOrigin::WithCredentials`].
        check_origin: CheckOrigin = CheckOrigin::WithCredentials,
        /// The origins that are allowed besides, such as `https://example.org`, compared as RFC 6454 section 5 says:
        /// those of files and applications, too, as `file://`, `app://.`, `capacitor://localhost`, or `null` for any
        /// page that has none. `*` allows all. An origin in `cors_allow_origin` is allowed if `cors_allow_credentials`
        /// is on. Default none.
        allowed_origins (list): Vec<String> = Vec::new(),
        /// Regular expressions of origins that are allowed. Each must match the *whole* origin, as browsers send it,
        /// in lower case: `https://[a-z]+\.example\.org`. Default none.
        allowed_origin_regexps (list): Vec<String> = Vec::new(),
        /// True if requests without an `Origin` are allowed, of those that `check_origin` looks at: only browsers send
        /// one, and only they need this protection. One whose browser says in `Sec-Fetch-Site` that it comes from a
        /// page of another origin is not. Default on.
        allow_missing_origin: bool = true,
        /// The most connections of the endpoint, on this node; 0 is no limit. Over it 503 with
        /// `Retry-After`, before the upgrade and before the connection handler. Default 0.
        max_connections: usize = 0,
        /// The most connections that one address has at this endpoint; 0 is no limit. An IPv6 network of 64 bits
        /// counts as one address. Over it 429 with `Retry-After`, before the upgrade. Behind a proxy set
        /// `trusted_proxies`, or all clients share its address. Default 0.
        max_connections_per_ip: usize = 0,
        /// The largest message a client may send, in bytes; a frame may not be larger either, nor a message once it
        /// is inflated. Over it the connection is closed with 1009; a message for an event stream is refused with 413.
        /// Default 512 KiB.
        max_message_size: usize = 512 * 1024,
        /// Lets clients come over event streams (docs/protocol.md, Event streams), too, not over WebSockets only.
        /// Turned off, it refuses the requests of streams that are open already. Default on.
        event_streams: bool = true,
        /// Agrees to permessage-deflate (RFC 7692) when a client offers it. Default off: small messages gain
        /// little, and each compressed message costs some microseconds, once for all its receivers.
        enable_compression: bool = false,
        /// The socket's receive buffer (`SO_RCVBUF`), in bytes, where the stream is plain TCP; 0 leaves it to the
        /// system. Default 0.
        read_buffer_size: usize = 0,
        /// The socket's send buffer (`SO_SNDBUF`), likewise. Default 0.
        write_buffer_size: usize = 0,
        /// The interval of WebSocket pings, or of comments of an event stream. Default 30 s.
        ping_interval: Duration = Duration::from_secs(30),
        /// The time for which a WebSocket may be silent, not even answering pings, before it is dropped. Default 60 s.
        pong_wait: Duration = Duration::from_secs(60),
        /// The interval of heartbeat *messages*, for pages which cannot see pings (docs/protocol.md, Keep-alive).
        /// Default never.
        heartbeat: Option<Duration> = None,
        /// The time for which a client may accept no byte of what waits for it before it is dropped. It is also how
        /// long a close handshake, a full receive queue, and taking in a message for an event stream, may take. Default
        /// 10 s.
        write_wait: Duration = Duration::from_secs(10),
        /// The most messages that may wait for a client that does not keep up, before channels wait for it, as
        /// `pacing_wait` says, unless `slow_client` made room. A client for which none waits any longer is disconnected
        /// with 1013 when more wait for `send_timeout`, or four times as many at any moment. While twice as many wait
        /// the client is not read. Default 256.
        send_channel_buffer: usize = 256,
        /// The same in bytes. Default 1 MiB.
        outbox_bytes: usize = 1024 * 1024,
        /// The time for which more than `send_channel_buffer` messages or `outbox_bytes` may wait for a client that
        /// takes nothing of it, or that channels do not wait for. Default 5 s.
        send_timeout: Duration = Duration::from_secs(5),
        /// For how long a channel waits for a member that has as much waiting as it may and takes nothing. Meanwhile
        /// nobody in the channel is sent anything further, and those who publish into it are not read: so they go as
        /// fast as the slowest member that takes `pacing_rate`. A member that is too slow is not waited for any longer:
        /// what `slow_client` says is done with it, until less than half of what may wait waits for it. Zero waits for
        /// nobody. Default 2 s.
        pacing_wait: Duration = Duration::from_secs(2),
        /// The bytes in a second that a member must take to be waited for, over `pacing_wait`. Default 64 KiB.
        pacing_rate: usize = 64 * 1024,
        /// The policy of broadcasts for a client that has as much waiting as it may. A client that has taken all
        /// there was misses nothing, however much is sent at once. An event can have a policy of its own:
        /// [`Lobby::slow_client`](crate::Lobby::slow_client). Default [`SlowClient::Disconnect`].
        slow_client: SlowClient = SlowClient::Disconnect,
        /// The most messages of one connection that may wait for their handlers. Over it the connection is not read,
        /// and TCP slows the client down; if nothing moves for `write_wait` it is closed with 1013. As many requests of
        /// an event stream may wait for their turn; a further one is refused with 429. Default 256.
        receive_channel_buffer: usize = 256,
        /// The most bytes of them that may wait. Over it the connection is not read until one of them is handled. The
        /// last one that finds room may be of any size up to `max_message_size`. Default 1 MiB.
        receive_bytes: usize = 1024 * 1024,
        /// The most handlers of one connection that run at once, each for another channel; the rest waits. Default 10.
        max_concurrent_handlers: usize = 10,
        /// The time for which a handler, with its layers, may run before it is cancelled at its next await and the
        /// caller is told 504. Default 30 s.
        handler_timeout: Duration = Duration::from_secs(30),
        /// The longest channel name, in bytes; a join of a longer one is declined with 400. Default 512.
        max_channel_name: usize = 512,
        /// Requires a channel name to begin with one slash, not end with one, and have none doubled: any other is
        /// declined with 404. Otherwise `/chat/1` and `chat/1` are two channels of one pattern. Default off.
        canonical_channel_names: bool = false,
        /// The most channels that a connection may be in, or be about to join; a further join is declined with 429.
        /// Default 256.
        max_channels_per_connection: usize = 256,
        /// The most joins of a connection that are decided at the same time. While as many are undecided the connection
        /// is not read: whoever joins more channels at once joins all of them, one after the other. Default 64.
        max_pending_joins: usize = 64,
        /// The messages that a connection may send in a second, with as many at once after a silence; 0 is no limit. A
        /// message over it is answered with 429 and otherwise ignored. Default 0.
        messages_per_second: u32 = 0,
        /// The same in bytes. A message may be larger than this: it is paid for by silence. Default
        /// 0.
        bytes_per_second: u32 = 0,
        /// The messages in a row that a connection may have refused for a rate before it is closed with 1008. Default
        /// 100.
        max_refusals: u32 = 100,
        /// The largest assigns of one connection, or of one member, as JSON in bytes. Over it the operation
        /// fails with 413, and changes nothing. Default 64 KiB.
        max_assigns_size: usize = 64 * 1024,
        /// The largest presence of one member as JSON in bytes: every presence message carries those of all
        /// members. Over it the operation fails with 413. Default 16 KiB. See also `max_channel_presence`.
        max_presence_size: usize = 16 * 1024,
        /// Pages of other origins that may read the HTTP answers of endpoints, as `Access-Control-Allow-Origin`: one
        /// origin or `*`; empty for none. Default empty.
        cors_allow_origin: String = String::new(),
        /// Lets them send credentials along, as `Access-Control-Allow-Credentials`. Default off.
        cors_allow_credentials: bool = false,
        /// The names of request headers that they may send, besides `Authorization`, `Cache-Control`, `Content-Type`,
        /// `Last-Event-ID` and `X-Connection-ID`, as `Access-Control-Allow-Headers`. Default none.
        cors_allow_headers (list): Vec<String> = Vec::new(),
        /// The subprotocols (`Sec-WebSocket-Protocol`) that the endpoint speaks, the most wanted first: the first one
        /// that a client offers is agreed to. [`Connected::subprotocol`](crate::Connected::subprotocol) overrides it
        /// for one client; raw WebSockets have only this. Default none.
        subprotocols (list): Vec<String> = Vec::new(),
        /// The time after which a client that is refused for want of room, or while the server drains, is told to try
        /// again. Default 5 s.
        retry_after: Duration = Duration::from_secs(5),
    }
    shared {
        /// The messages that may wait in a channel for delivery before the connections that publish into it are not
        /// read any more. At four times as many a broadcast, a reply or a change of presence is refused with 503.
        /// Default 4096.
        channel_queue: usize = 4096,
        /// The same in bytes. A change of presence counts with the list that it will be told with. Default 4 MiB.
        channel_queue_bytes: usize = 4 * 1024 * 1024,
        /// The most bytes that messages may take in this server, in all endpoints together: those that clients have
        /// sent and that wait for their handlers or are being handled, parts of messages, and those that wait in
        /// channels and for clients. What several clients share counts once. From three quarters on connections that
        /// hold 64 KiB or more are not read, and one that holds a part of a message of that size for `write_wait`, or
        /// that takes less than `pacing_rate` of as much that waits for it, is closed with 1013; from the whole on
        /// nobody is read, newcomers are refused with 503 and `Retry-After`, and broadcasts with 503. Default 1 GiB.
        memory_limit: usize = 1024 * 1024 * 1024,
        /// For how long a channel may be held up by members that turn out to be too slow, all together. Each second
        /// gives back a tenth of one. When it is spent, each of them is waited for for a fortieth of it. Default 4 s.
        pacing_budget: Duration = Duration::from_secs(4),
        /// The bytes of JSON that the members of a channel on this node may show of themselves, all together: whoever
        /// shows itself is told of all. Over it showing more fails, or declines the join, with 413. Default 512 KiB.
        max_channel_presence: usize = 512 * 1024,
        /// The largest presence list that is told as a whole, in bytes. Of a larger one only changes are told: then
        /// every presence message is marked `partial` (docs/protocol.md, Presence). Clients may be unable to take a
        /// message of 1 MiB. Default 768 KiB.
        max_presence_list: usize = 768 * 1024,
        /// The bytes of presence lists that one delivery may repeat for each receiver. Where it would be more, only the
        /// last of its changes carries the whole list, and the others are marked `partial`. Default 64 KiB.
        presence_batch: usize = 64 * 1024,
        /// The proxies that are believed: addresses or networks, such as `10.0.0.0/8`, and `unix` for whoever connects
        /// to a Unix socket of the standalone server. They tell the client's address in `client_address_header` (see
        /// [`ConnectionContext::client_ip`](crate::ConnectionContext::client_ip)), and the host that the client asked
        /// for in `X-Forwarded-Host`, for `check_origin`. Default none.
        trusted_proxies (list): Vec<String> = Vec::new(),
        /// The only header in which `trusted_proxies` tell the client's address: they must write it, or append to it,
        /// whatever a client has sent. `Forwarded` is read as RFC 7239 says, any other (`X-Real-IP`, for example) as
        /// addresses with commas between them. Default `X-Forwarded-For`.
        client_address_header: String = "X-Forwarded-For".to_owned(),
        /// The name of this node among others, which should stay the same when it is started again: then its earlier
        /// life is known to be over. No two nodes may have the same; 1 to 64 bytes, without control characters. Default
        /// empty: it draws one at each start.
        node_name: String = String::new(),
        /// The interval in which servers in other languages are told that this node lives. They must wait for more than
        /// one of these before they take it for dead. Default 30 s.
        node_heartbeat: Duration = Duration::from_secs(30),
        /// After which silence a server in another language is taken for dead, and its users leave. Default 90 s. Nodes
        /// of ours are noticed within 5.5 s, whatever this is.
        node_timeout: Duration = Duration::from_secs(90),
        /// The most users that each other node has in one channel, and all servers of other languages together. Further
        /// ones are not seen here, and counted. Default 10 000.
        max_remote_users: usize = 10_000,
        /// The most bytes of presence that the users of all other nodes have in one channel. Who would be over it is a
        /// member without presence until there is room, and counted. What one of them may have is `max_presence_size`,
        /// and `max_assigns_size`. Default 512 KiB.
        max_remote_presence: usize = 512 * 1024,
        /// For how long the bus may be down before [`PondSocket::is_ready`](crate::PondSocket::is_ready), and so
        /// `/ready`, says no. Default none: a node without its bus serves its own clients as before, and stays ready.
        unready_without_bus: Option<Duration> = None,
    }
}

fn owned(texts: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<String> {
    texts.into_iter().map(|text| text.as_ref().to_owned()).collect()
}

/// The requests that [`Options::check_origin`] looks at.
///
/// The browser of a visitor sends cookies and credentials along with whatever request a page makes, also with those to
/// other servers. So a page anywhere could connect in the name of its visitor.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum CheckOrigin {
    /// None: pages of all origins may connect, in the name of whoever looks at them.
    Off,
    /// Those that bring along what a browser adds by itself: cookies, credentials of HTTP authentication other than a
    /// bearer token, or a client's certificate (see [`ClientCertificate`](crate::ClientCertificate)).
    #[default]
    WithCredentials,
    /// All: also where the network, or an address, says who somebody is.
    Always,
}

impl From<bool> for CheckOrigin {
    /// `true` looks at all requests, `false` at none.
    fn from(always: bool) -> CheckOrigin {
        if always { CheckOrigin::Always } else { CheckOrigin::Off }
    }
}

/// Deadlines further away than this could lie behind the end of time, as the clock counts it.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The longest name of a node, in bytes.
const MAX_NODE_NAME: usize = 64;

impl Options {
    /// Another name of [`handler_timeout`](Self::handler_timeout), as other PondSocket servers call it.
    #[must_use]
    pub fn internal_queue_timeout(self, value: Duration) -> Self {
        self.handler_timeout(value)
    }

    /// Refuses what cannot work.
    ///
    /// # Errors
    /// 400; the message names the field.
    pub fn validate(&self) -> Result<()> {
        self.check_counts()?;
        self.check_times()?;
        if self.cors_allow_credentials && self.cors_allow_origin == "*" {
            return Err(Error::bad_request("cors_allow_credentials does not go with a cors_allow_origin of `*`"));
        }
        if http::HeaderValue::from_str(&self.cors_allow_origin).is_err() {
            return Err(Error::bad_request("cors_allow_origin is no header value"));
        }
        if self.node_name.len() > MAX_NODE_NAME || self.node_name.chars().any(char::is_control) {
            return Err(Error::bad_request(format!(
                "node_name must have {MAX_NODE_NAME} bytes at the most, and no control characters"
            )));
        }
        self.check_names()?;
        Origins::new(self)?;
        Proxies::new(self)?;
        Ok(())
    }

    fn check_names(&self) -> Result<()> {
        let is_token = |name: &String| HeaderName::from_bytes(name.as_bytes()).is_ok();
        if let Some(name) = self.cors_allow_headers.iter().find(|name| !is_token(name)) {
            return Err(Error::bad_request(format!("cors_allow_headers: `{name}` is no name of a header")));
        }
        // The names of subprotocols have the same letters (RFC 6455 section 4.1).
        if let Some(name) = self.subprotocols.iter().find(|name| !is_token(name)) {
            return Err(Error::bad_request(format!("subprotocols: `{name}` is no name of a subprotocol")));
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<()> {
        let counts = [
            ("max_message_size", self.max_message_size),
            ("send_channel_buffer", self.send_channel_buffer),
            ("outbox_bytes", self.outbox_bytes),
            ("pacing_rate", self.pacing_rate),
            ("receive_channel_buffer", self.receive_channel_buffer),
            ("receive_bytes", self.receive_bytes),
            ("max_concurrent_handlers", self.max_concurrent_handlers),
            ("max_channel_name", self.max_channel_name),
            ("max_channels_per_connection", self.max_channels_per_connection),
            ("max_pending_joins", self.max_pending_joins),
            ("max_refusals", self.max_refusals as usize),
            ("max_assigns_size", self.max_assigns_size),
            ("max_presence_size", self.max_presence_size),
            ("max_remote_users", self.max_remote_users),
            ("max_remote_presence", self.max_remote_presence),
            ("channel_queue", self.channel_queue),
            ("channel_queue_bytes", self.channel_queue_bytes),
            ("memory_limit", self.memory_limit),
        ];
        let zero = counts.iter().find(|(_, value)| *value == 0);
        zero.map_or(Ok(()), |(name, _)| Err(Error::bad_request(format!("{name} must not be zero"))))
    }

    fn check_times(&self) -> Result<()> {
        let times = [
            ("ping_interval", self.ping_interval),
            ("pong_wait", self.pong_wait),
            ("write_wait", self.write_wait),
            ("send_timeout", self.send_timeout),
            ("handler_timeout", self.handler_timeout),
            ("heartbeat", self.heartbeat.unwrap_or(LONGEST)),
            ("node_heartbeat", self.node_heartbeat),
            ("node_timeout", self.node_timeout),
        ];
        if let Some((name, _)) = times.iter().find(|(_, value)| value.is_zero()) {
            return Err(Error::bad_request(format!("{name} must not be zero")));
        }
        let pacing = [("pacing_wait", self.pacing_wait), ("pacing_budget", self.pacing_budget)];
        if let Some((name, _)) = times.iter().chain(&pacing).find(|(_, value)| *value > LONGEST) {
            return Err(Error::bad_request(format!("{name} must not be longer than a year")));
        }
        if self.pong_wait < self.ping_interval {
            return Err(Error::bad_request("pong_wait must not be shorter than ping_interval"));
        }
        Ok(())
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
        let message = |options: Options| options.validate().expect_err("nonsense").message().to_owned();
        let options = Options::default;
        assert_eq!(message(options().ping_interval(Duration::ZERO)), "ping_interval must not be zero");
        assert_eq!(message(options().heartbeat(Some(Duration::ZERO))), "heartbeat must not be zero");
        let never = options().send_timeout(Duration::MAX);
        assert_eq!(message(never), "send_timeout must not be longer than a year");
        assert_eq!(message(options().channel_queue(0)), "channel_queue must not be zero");
        assert_eq!(message(options().max_refusals(0)), "max_refusals must not be zero");
        let short = options().pong_wait(Duration::from_secs(1));
        assert_eq!(message(short), "pong_wait must not be shorter than ping_interval");
        let anybody = options().cors_allow_origin("*".into()).cors_allow_credentials(true);
        assert_eq!(message(anybody), "cors_allow_credentials does not go with a cors_allow_origin of `*`");
        assert!(message(options().allowed_origin_regexps(["("])).starts_with("allowed_origin_regexps: `(`"));
        assert!(message(options().allowed_origins(["example.org"])).starts_with("allowed_origins: `example"));
        assert!(message(options().trusted_proxies(["10.0.0.0/99"])).starts_with("trusted_proxies: `10.0."));
        assert!(message(options().client_address_header("X Y".into())).starts_with("client_address_header: `X Y`"));
        assert!(message(options().cors_allow_headers(["a,b"])).starts_with("cors_allow_headers: `a,b`"));
        assert!(message(options().subprotocols(["a b"])).starts_with("subprotocols: `a b`"));
    }

    #[test]
    fn an_endpoint_overrides_what_it_names_and_nothing_else() {
        let options = Options::default().max_connections(7).max_channel_name(9);
        let merged = EndpointOptions { max_connections: Some(3), ..Default::default() }.over(&options);
        assert_eq!((merged.max_connections, merged.max_channel_name), (3, 9));
    }
}
