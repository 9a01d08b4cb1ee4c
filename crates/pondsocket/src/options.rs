//! The limits and timeouts of a server and of its endpoints.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use pondsocket_proto::channel::SlowClient;

use crate::cluster::SharedBus;
use crate::error::{Error, Result};
use crate::limits::address::Proxies;
use crate::limits::origin::Origins;

/// Declares each option once, and generates [`Options`] with its defaults and setters, and [`EndpointOptions`] for the options
/// under `endpoint`, which an endpoint can override. The setter of a `(list)` accepts any iterator of strings.
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
            /// The bus that connects this server to other nodes ([`cluster`](crate::cluster)). Default none.
            pub bus: Option<SharedBus>,
            /// The file in which histories, sessions and members outlive this server. At the end of a
            /// [shutdown](crate::PondSocket::shutdown) the histories of all channels ([`Lobby::history`](crate::Lobby::history)),
            /// the sessions ([`Connected::session`](crate::Connected::session)) and the members in their presence grace
            /// ([`Lobby::presence_grace`](crate::Lobby::presence_grace)) are written to it. A server that starts with
            /// the same file reads it before its first client, and deletes it: then clients resume as if the server had not been
            /// restarted, and members are still there until their grace ends. Of a file that is older than `resume_window` only the members
            /// are used, and one that is damaged is refused with a log line.
            ///
            /// Endpoints and lobbies are found by their patterns. A history goes on under the rules that its lobby has now, and
            /// begins anew if its [stamp](crate::History::stamp) is another one. The file contains messages, answers, assigns, presence and user
            /// ids, and is readable by its owner only (mode 0600). It cannot be combined with a
            /// `bus`: what other nodes send while this one is down would be missing. Default none.
            pub history_file: Option<PathBuf>,
        }

        impl Default for Options {
            fn default() -> Self {
                Options { $($field: $default,)* $($shared: $shared_default,)* bus: None, history_file: None }
            }
        }

        impl Options {
            $(options!(setter $field $(($kind))?: $type);)*
            $(options!(setter $shared $(($shared_kind))?: $shared_type);)*

            /// Sets [`bus`](Self#structfield.bus), which makes this server a node of a cluster.
            #[must_use]
            pub fn bus(self, bus: impl Into<SharedBus>) -> Self {
                Options { bus: Some(bus.into()), ..self }
            }

            /// Sets [`history_file`](Self#structfield.history_file).
            #[must_use]
            pub fn history_file(self, path: impl Into<PathBuf>) -> Self {
                Options { history_file: Some(path.into()), ..self }
            }
        }

        /// The options in which one endpoint differs from the [`Options`] of its [`PondSocket`](crate::PondSocket). `None` keeps
        /// the value of the `PondSocket`.
        ///
        /// ```
        /// # use pondsocket::{ConnectionContext, EndpointOptions, Error, PondSocket, SlowClient};
        /// let pond = PondSocket::new();
        /// let ticker = EndpointOptions::default()
        ///     .slow_client(SlowClient::DropOldest)
        ///     .subprotocols(["ticker.v2", "ticker"]);
        /// pond.create_endpoint("/ticker", async |ctx: ConnectionContext| Ok::<_, Error>(ctx.accept())).options(ticker);
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

            /// The options of the endpoint: those of the `PondSocket`, with these values in place of theirs.
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
            self.$field = to_strings(values);
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
            self.$field = Some(to_strings(values));
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
        /// The requests whose `Origin` is checked: see [`CheckOrigin`]. Allowed are pages of the server's own host and port,
        /// compared with `Host` and with the host that a trusted proxy names, and those of `allowed_origins` and
        /// `allowed_origin_regexps`. A request of any other page is declined with 403, before the connection handler runs.
        /// Default [`CheckOrigin::WithCredentials`].
        check_origin: CheckOrigin = CheckOrigin::WithCredentials,
        /// Further allowed origins, such as `https://example.org`, compared by RFC 6454 section 5. Files and applications have
        /// origins such as `file://`, `app://.` and `capacitor://localhost`; `null` stands for pages without an origin, and
        /// `*` allows all. The origin in `cors_allow_origin` is allowed, too, if `cors_allow_credentials` is on. Default none.
        allowed_origins (list): Vec<String> = Vec::new(),
        /// Regular expressions of further allowed origins. Each must match the *whole* origin as browsers send it, in lower
        /// case: `https://[a-z]+\.example\.org`. Default none.
        allowed_origin_regexps (list): Vec<String> = Vec::new(),
        /// Allows requests without an `Origin`, of those that `check_origin` checks. Only browsers send the header, and only
        /// their users need this protection. A request whose `Sec-Fetch-Site` says that it is from a page of another origin is
        /// declined all the same.
        /// Default on.
        allow_missing_origin: bool = true,
        /// The most connections of the endpoint on this node; 0 is no limit. Above it a client is declined with 503 and
        /// `Retry-After`, before the connection handler runs. Default 0.
        max_connections: usize = 0,
        /// The most connections of one address at the endpoint; 0 is no limit. An IPv6 network of 64 bits counts as one
        /// address. Above it a client is declined with 429 and `Retry-After`, before the connection handler runs. Behind a
        /// proxy `trusted_proxies` must be set, since all clients share its address otherwise. Default 0.
        max_connections_per_ip: usize = 0,
        /// The most connects that wait for their turn (see `arrivals_per_round`). Above it a client is declined with 503 and
        /// `Retry-After`, before the connection handler runs. Default 4096.
        max_waiting_connects: usize = 4096,
        /// The largest message that a client may send, in bytes, also after decompression. For a larger one the connection is
        /// closed with 1009; of an event stream's client it is declined with 413. Default 512 KiB.
        max_message_size: usize = 512 * 1024,
        /// Allows clients to connect with event streams (docs/protocol.md, Event streams) as well as with WebSockets. An
        /// endpoint that turns it off also declines the requests of streams that are open already. Default on.
        event_streams: bool = true,
        /// Accepts permessage-deflate (RFC 7692) if a client offers it. Default off: small messages gain little, and each
        /// compressed message costs some microseconds, once for all recipients.
        enable_compression: bool = false,
        /// The socket's receive buffer (`SO_RCVBUF`), in bytes, if the stream is plain TCP; 0 keeps the system's default.
        /// Default 0.
        read_buffer_size: usize = 0,
        /// The socket's send buffer (`SO_SNDBUF`), in bytes, if the stream is plain TCP; 0 keeps the system's default.
        /// Default 0.
        write_buffer_size: usize = 0,
        /// The interval of WebSocket pings, or of comments of an event stream. Default 30 s.
        ping_interval: Duration = Duration::from_secs(30),
        /// The longest time without any byte from a WebSocket's client, pongs included, before the connection is ended.
        /// Default 60 s.
        pong_wait: Duration = Duration::from_secs(60),
        /// The interval of heartbeat *messages*, for pages, whose scripts do not see pings (docs/protocol.md, Keep-alive).
        /// Default none.
        heartbeat: Option<Duration> = None,
        /// The longest time in which a client accepts no byte of the messages that wait for it, before the connection is ended.
        /// It also limits a close handshake, a full receive queue, and the upload of a message for an event stream. Default
        /// 10 s.
        write_wait: Duration = Duration::from_secs(10),
        /// The most messages that wait for a client before channels wait for it (see `pacing_wait`), unless `slow_client` makes
        /// room by dropping messages. A client for which no channel waits any more is disconnected with 1013 if more messages
        /// wait for longer than `send_timeout`, or four times as many at any time. While twice as many wait, the client is not
        /// read. Default 256.
        send_channel_buffer: usize = 256,
        /// The most bytes that wait for a client, with the same effects as `send_channel_buffer`. Default 1 MiB.
        outbox_bytes: usize = 1024 * 1024,
        /// The longest time for which more than `send_channel_buffer` messages or `outbox_bytes` may wait for a client that
        /// accepts none of them, or for which no channel waits. Then it is disconnected with 1013. Default 5 s.
        send_timeout: Duration = Duration::from_secs(5),
        /// The longest time for which a channel waits for a member whose outbox is full and that accepts nothing. During the
        /// wait no further messages are delivered in the channel, and the connections that publish into it are not read: so
        /// they are slowed down to the slowest member that accepts `pacing_rate`. For a slower member the channel stops
        /// waiting, and `slow_client` applies to it until its outbox is less than half full. Zero: channels never wait.
        /// Default 2 s.
        pacing_wait: Duration = Duration::from_secs(2),
        /// The rate in bytes per second, on average over `pacing_wait`, that a member must accept for channels to wait for it.
        /// Default 64 KiB.
        pacing_rate: usize = 64 * 1024,
        /// The policy for broadcasts to a client whose outbox is full. A client whose outbox was empty loses nothing, however
        /// much is sent at once. Single events can have another policy:
        /// [`Lobby::slow_client`](crate::Lobby::slow_client). Default [`SlowClient::Disconnect`].
        slow_client: SlowClient = SlowClient::Disconnect,
        /// The most messages of one connection that wait for their handlers. At the limit the connection is not read, so that
        /// TCP slows the client down; if none is handled for `write_wait` it is closed with 1013. Of an event stream's client
        /// as many requests may wait; a further one is declined with 429. Default 256.
        receive_channel_buffer: usize = 256,
        /// The most bytes of these messages. At the limit the connection is not read until one has been handled. The message
        /// that reaches the limit may exceed it, by up to `max_message_size`. Default 1 MiB.
        receive_bytes: usize = 1024 * 1024,
        /// The most handlers of one connection that run at the same time, each for another channel. Further messages wait.
        /// Default 10.
        max_concurrent_handlers: usize = 10,
        /// The longest time that a handler with its layers may take. Then it is cancelled at its next await, and the client
        /// receives 504. Default 30 s.
        handler_timeout: Duration = Duration::from_secs(30),
        /// The longest channel name, in bytes. A join with a longer one is declined with 400. Default 512.
        max_channel_name: usize = 512,
        /// Requires channel names that begin with a slash, do not end with one, and contain no double slash. A join with any
        /// other name is declined with 404. Without this `/chat/1` and `chat/1` are two channels of one pattern. Default off.
        canonical_channel_names: bool = false,
        /// The most channels that a connection has joined or has requested to join. A further join is declined with 429.
        /// Default 256.
        max_channels_per_connection: usize = 256,
        /// The most joins of a connection that are undecided at the same time. At the limit the connection is not read:
        /// further joins are delayed, not declined. Default 64.
        max_pending_joins: usize = 64,
        /// The messages per second that a connection may send, which is also the burst; 0 is no limit. A message over the limit
        /// is answered with 429 and not handled. Default 0.
        messages_per_second: u32 = 0,
        /// The bytes per second that a connection may send, with the same effects as `messages_per_second`; 0 is no limit. A
        /// larger message is allowed, and the time that it takes at this rate must pass before the next one. Default 0.
        bytes_per_second: u32 = 0,
        /// The number of messages in a row that are refused for a rate, after which the connection is closed with 1008. Default
        /// 100.
        max_refusals: u32 = 100,
        /// The largest assigns of one connection, or of one member, in bytes of JSON. An operation that would exceed it fails
        /// with 413 and changes nothing. Default 64 KiB.
        max_assigns_size: usize = 64 * 1024,
        /// The largest presence of one member, in bytes of JSON. An operation that would exceed it fails with 413. Presence
        /// messages have the presence of all members, so their size is also limited: see `max_channel_presence`. Default
        /// 16 KiB.
        max_presence_size: usize = 16 * 1024,
        /// The value of `Access-Control-Allow-Origin`: one origin whose pages may read HTTP responses of the endpoint, or `*`;
        /// empty for none. Default empty.
        cors_allow_origin: String = String::new(),
        /// Sends `Access-Control-Allow-Credentials`, which allows these pages to send credentials. Default off.
        cors_allow_credentials: bool = false,
        /// Further names in `Access-Control-Allow-Headers`: the request headers that these pages may send besides
        /// `Authorization`, `Cache-Control`, `Content-Type`, `Last-Event-ID` and `X-Connection-ID`. Default none.
        cors_allow_headers (list): Vec<String> = Vec::new(),
        /// The subprotocols (`Sec-WebSocket-Protocol`) of the endpoint in the order of preference. The first one that the
        /// client offers is selected. [`Connected::subprotocol`](crate::Connected::subprotocol) overrides it for one client,
        /// except for raw WebSockets. Default none.
        subprotocols (list): Vec<String> = Vec::new(),
        /// Answers to pings and close frames prove what the client of a session has received. Turn this off behind a proxy that
        /// speaks WebSocket itself and answers them in place of the client: a client would lose what the proxy had received and
        /// the client had not. Clients with sessions then get everything since their last join again, as those of event streams
        /// do, and a further connection with the same key ends the one before. Default on.
        pong_proofs: bool = true,
        /// The value of `Retry-After` for a client that is declined because a limit is reached or the server drains. Default
        /// 5 s.
        retry_after: Duration = Duration::from_secs(5),
    }
    shared {
        /// The most steps of connects and joins that begin in one round of a thread's scheduler through the tasks that are
        /// ready, so that many clients which arrive at once delay the messages of others by little. A step is all that a client
        /// does between two waits: for a handler, for the bus, or for its own next message. After its first join only further
        /// joins count. Steps without a turn wait, first come, first served; those of an idle server do not wait. The
        /// standalone server also accepts this number of sockets in a round, so that their TLS handshakes take turns. A larger number
        /// admits clients faster when messages are many, but delays these more; 0 is no limit. A thread that has had no message
        /// for members in 32 rounds lets four times as many steps begin in each, until it has one. Default 4.
        arrivals_per_round: usize = 4,
        /// The number of messages in a channel's queue above which the connections whose event handlers publish into it
        /// through their contexts are not read. Other publishers can wait with [`Channel::ready`](crate::Channel::ready).
        /// Above four times as many a broadcast, a reply or a change of presence is refused with 503. Default 4096.
        channel_queue: usize = 4096,
        /// The number of bytes in a channel's queue, with the same effects. A change of presence counts with the presence list
        /// that is sent with it. Default 4 MiB.
        channel_queue_bytes: usize = 4 * 1024 * 1024,
        /// The most bytes of messages in this server, in all endpoints together: received messages, complete or partial, until
        /// they have been handled, and messages that wait in channels and for clients. Bytes that several clients share count
        /// once. Above three quarters of it connections that hold 64 KiB or more are not read; one that holds a partial message
        /// of that size for `write_wait`, or that accepts less than `pacing_rate` while that much waits for it, is closed with
        /// 1013. At the limit no connection is read, new clients are declined with 503 and `Retry-After`, and broadcasts are
        /// refused with 503. Default 1 GiB.
        memory_limit: usize = 1024 * 1024 * 1024,
        /// The most bytes of messages that all channels keep for clients that were away ([`Lobby::history`](crate::Lobby::history)).
        /// Above it the histories that were used longest ago are emptied: clients that resume there have a gap. Default 256 MiB.
        history_bytes: usize = 256 * 1024 * 1024,
        /// The time for which a session is kept after its connection has ended ([`Connected::session`](crate::Connected::session)).
        /// Default 2 minutes.
        resume_window: Duration = Duration::from_secs(120),
        /// The shortest time between two pings that prove what the client of a session has received. Such a ping is
        /// sent behind messages that are kept, in the same write; the pings of `ping_interval` prove it as well. A client that is
        /// cut off may get what it received since the last answered ping twice: the messages of the last `proof_interval`, or,
        /// if the channel was quiet since, those that followed a ping within it up to `ping_interval` ago. Default 1 s.
        proof_interval: Duration = Duration::from_secs(1),
        /// The most sessions of one endpoint. Above it further clients have none: they are not resumed. Default 200 000.
        max_sessions: usize = 200_000,
        /// The most members of this server that are in their presence grace
        /// ([`Lobby::presence_grace`](crate::Lobby::presence_grace)), in all endpoints together. Above it members that lose their
        /// last connection leave at once. Default 100 000.
        max_ghosts: usize = 100_000,
        /// The total time for which a channel waits for members that prove to be too slow. It is regained at a tenth of a second
        /// per second. When it is spent, the channel waits for each such member for a fortieth of it. Default 4 s.
        pacing_budget: Duration = Duration::from_secs(4),
        /// The largest total presence of the members of one channel on this node, in bytes of JSON: a member that is tracked
        /// receives all of it. An operation that would exceed it fails, or declines the join, with 413. Default 512 KiB.
        max_channel_presence: usize = 512 * 1024,
        /// The largest presence list that is sent completely, in bytes. Of a larger one only changes are sent, in messages that
        /// are marked `partial` (docs/protocol.md, Presence). Some clients reject messages of 1 MiB. Default 768 KiB.
        max_presence_list: usize = 768 * 1024,
        /// The most bytes of presence lists in one batch for each recipient. Above it only the last change of the batch has the
        /// complete list, and the others are marked `partial`. Default 64 KiB.
        presence_batch: usize = 64 * 1024,
        /// The most members, on all nodes, of a channel in which each change of presence may have a list of its own. In a larger
        /// one at most one list is sent to each member in each `presence_interval`. Default 100.
        large_channel: usize = 100,
        /// The shortest time between two deliveries of presence in a large channel: changes are collected meanwhile, and the last
        /// one has the list. Messages and acknowledgements behind a change that waits keep their place, and wait with it. A
        /// change after a longer pause is delivered at once. Zero: no such time. Default 50 ms.
        presence_interval: Duration = Duration::from_millis(50),
        /// The proxies whose headers are trusted: addresses or networks, such as `10.0.0.0/8`, and `unix` for all processes that
        /// connect to a Unix socket of the standalone server. The client's address is read from their
        /// `client_address_header` (see [`ConnectionContext::client_ip`](crate::ConnectionContext::client_ip)), and the host
        /// that the client requested, for `check_origin`, from `X-Forwarded-Host`. Default none.
        trusted_proxies (list): Vec<String> = Vec::new(),
        /// The only header from which the client's address is read. Every trusted proxy must set it, or append to it, even if
        /// the client has sent it. `Forwarded` is parsed by RFC 7239; any other header, such as `X-Real-IP`, is a list of
        /// addresses that are separated by commas. Default `X-Forwarded-For`.
        client_address_header: String = "X-Forwarded-For".to_owned(),
        /// The name of this node, 1 to 64 bytes without control characters. Each node must have another one. It should stay the
        /// same after a restart: then other nodes know that the previous incarnation has ended. Default empty: a random name at
        /// each start.
        node_name: String = String::new(),
        /// The interval of heartbeats for servers in other languages. Their timeout must be longer than this. Default 30 s.
        node_heartbeat: Duration = Duration::from_secs(30),
        /// The time without heartbeats after which a server in another language is considered dead, and its users leave. The loss
        /// of nodes of this server is noticed within 5.5 s, independently of this. After so long without any such server messages
        /// have a short form that these servers do not read (docs/cluster.md, Short form). Default 90 s.
        node_timeout: Duration = Duration::from_secs(90),
        /// The most users of each other node in one channel, and of all servers in other languages together. Further users are
        /// ignored on this node, and counted in the metrics. Default 10 000.
        max_remote_users: usize = 10_000,
        /// The largest total presence of the users of all other nodes in one channel, in bytes of JSON. A user that would exceed
        /// it is a member without presence until there is room, and counted in the metrics. A single user is limited by
        /// `max_presence_size` and `max_assigns_size`. Default 512 KiB.
        max_remote_presence: usize = 512 * 1024,
        /// The time for which the bus may be down before [`PondSocket::is_ready`](crate::PondSocket::is_ready) returns `false`
        /// and `/ready` answers 503. Default none: a node without its bus still serves its own clients, and stays ready.
        unready_without_bus: Option<Duration> = None,
    }
}

fn to_strings(texts: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<String> {
    texts.into_iter().map(|text| text.as_ref().to_owned()).collect()
}

/// The requests whose origin [`Options::check_origin`] checks.
///
/// A browser sends cookies and credentials with every request of a page, even to servers of other origins. Without the check any
/// page could connect in the name of its visitor (cross-site WebSocket hijacking).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum CheckOrigin {
    /// No requests: pages of all origins can connect, in the name of their visitors.
    Off,
    /// Requests with credentials that a browser adds by itself: cookies, HTTP authentication other than a bearer token, or a
    /// client certificate (see [`ClientCertificate`](crate::ClientCertificate)).
    #[default]
    WithCredentials,
    /// All requests: needed if clients are authenticated by their network or address.
    Always,
}

impl From<bool> for CheckOrigin {
    /// `true` is [`CheckOrigin::Always`], `false` is [`CheckOrigin::Off`].
    fn from(always: bool) -> CheckOrigin {
        if always { CheckOrigin::Always } else { CheckOrigin::Off }
    }
}

/// The longest timeout. A deadline further away could overflow the system's clock.
const MAX_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The longest name of a node, in bytes.
const MAX_NODE_NAME: usize = 64;

impl Options {
    /// Sets [`handler_timeout`](Self::handler_timeout), by the name that it has in other PondSocket servers.
    #[must_use]
    pub fn internal_queue_timeout(self, value: Duration) -> Self {
        self.handler_timeout(value)
    }

    /// Checks the options.
    ///
    /// # Errors
    /// 400 for a value that cannot work; the message has the name of the field.
    pub fn validate(&self) -> Result<()> {
        self.check_counts()?;
        self.check_times()?;
        if self.cors_allow_credentials && self.cors_allow_origin == "*" {
            return Err(Error::bad_request(
                "cors_allow_credentials cannot be combined with a cors_allow_origin of `*`",
            ));
        }
        if http::HeaderValue::from_str(&self.cors_allow_origin).is_err() {
            return Err(Error::bad_request("cors_allow_origin is not a valid header value"));
        }
        if self.node_name.len() > MAX_NODE_NAME || self.node_name.chars().any(char::is_control) {
            return Err(Error::bad_request(format!(
                "node_name must have at most {MAX_NODE_NAME} bytes, and no control characters"
            )));
        }
        self.check_names()?;
        if self.history_file.is_some() && self.bus.is_some() {
            return Err(Error::bad_request("history_file cannot be combined with a bus"));
        }
        if self.history_file.as_ref().is_some_and(|path| path.file_name().is_none()) {
            return Err(Error::bad_request("history_file must be the path of a file"));
        }
        Origins::new(self)?;
        Proxies::new(self)?;
        Ok(())
    }

    fn check_names(&self) -> Result<()> {
        let is_token = |name: &String| HeaderName::from_bytes(name.as_bytes()).is_ok();
        if let Some(name) = self.cors_allow_headers.iter().find(|name| !is_token(name)) {
            return Err(Error::bad_request(format!("cors_allow_headers: `{name}` is not a valid header name")));
        }
        // Subprotocols consist of the same characters as header names (RFC 6455 section 4.1).
        if let Some(name) = self.subprotocols.iter().find(|name| !is_token(name)) {
            return Err(Error::bad_request(format!("subprotocols: `{name}` is not a valid subprotocol name")));
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<()> {
        let counts = [
            ("max_waiting_connects", self.max_waiting_connects),
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
            ("history_bytes", self.history_bytes),
            ("max_sessions", self.max_sessions),
            ("max_ghosts", self.max_ghosts),
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
            ("heartbeat", self.heartbeat.unwrap_or(MAX_TIMEOUT)),
            ("node_heartbeat", self.node_heartbeat),
            ("node_timeout", self.node_timeout),
            ("resume_window", self.resume_window),
        ];
        if let Some((name, _)) = times.iter().find(|(_, value)| value.is_zero()) {
            return Err(Error::bad_request(format!("{name} must not be zero")));
        }
        let waits = [
            ("pacing_wait", self.pacing_wait),
            ("pacing_budget", self.pacing_budget),
            ("presence_interval", self.presence_interval),
            ("proof_interval", self.proof_interval),
        ];
        if let Some((name, _)) = times.iter().chain(&waits).find(|(_, value)| *value > MAX_TIMEOUT) {
            return Err(Error::bad_request(format!("{name} must not be longer than a year")));
        }
        if self.pong_wait < self.ping_interval {
            return Err(Error::bad_request("pong_wait must not be shorter than ping_interval"));
        }
        Ok(())
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert!(Options::default().validate().is_ok());
    }

    #[test]
    fn invalid_options_are_refused_by_the_name_of_the_field() {
        let message = |options: Options| options.validate().expect_err("invalid options").message().to_owned();
        let options = Options::default;
        assert_eq!(message(options().ping_interval(Duration::ZERO)), "ping_interval must not be zero");
        assert_eq!(message(options().heartbeat(Some(Duration::ZERO))), "heartbeat must not be zero");
        let never = options().send_timeout(Duration::MAX);
        assert_eq!(message(never), "send_timeout must not be longer than a year");
        assert_eq!(message(options().channel_queue(0)), "channel_queue must not be zero");
        assert_eq!(message(options().max_refusals(0)), "max_refusals must not be zero");
        let short = options().pong_wait(Duration::from_secs(1));
        assert_eq!(message(short), "pong_wait must not be shorter than ping_interval");
        let any_origin = options().cors_allow_origin("*".into()).cors_allow_credentials(true);
        assert_eq!(message(any_origin), "cors_allow_credentials cannot be combined with a cors_allow_origin of `*`");
        assert!(message(options().allowed_origin_regexps(["("])).starts_with("allowed_origin_regexps: `(`"));
        assert!(message(options().allowed_origins(["example.org"])).starts_with("allowed_origins: `example"));
        assert!(message(options().trusted_proxies(["10.0.0.0/99"])).starts_with("trusted_proxies: `10.0."));
        assert!(message(options().client_address_header("X Y".into())).starts_with("client_address_header: `X Y`"));
        assert!(message(options().cors_allow_headers(["a,b"])).starts_with("cors_allow_headers: `a,b`"));
        assert!(message(options().subprotocols(["a b"])).starts_with("subprotocols: `a b`"));
    }

    #[test]
    fn an_endpoint_overrides_only_the_options_that_it_sets() {
        let options = Options::default().max_connections(7).max_channel_name(9);
        let merged = EndpointOptions { max_connections: Some(3), ..Default::default() }.over(&options);
        assert_eq!((merged.max_connections, merged.max_channel_name), (3, 9));
    }
}
