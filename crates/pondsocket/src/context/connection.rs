use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;
use pondsocket_proto::channel::Assigns;
use pondsocket_proto::id::{ConnectionId, UserId};
use pondsocket_proto::pattern::Match;
use pondsocket_proto::wire::{Json, Object};
use pondsocket_proto::ws::subprotocols;
use serde::Serialize;

use super::route::{Routed, route_methods};
use crate::error::{Error, Result, encoding};
use crate::handler::pass::{PassSlot, PassSlotRef};
use crate::handler::{Context, Passable, sealed};
use crate::json::encode::check_event;
use crate::metrics::Observer;
use crate::pond::states::States;

/// The request of a client to connect, before the upgrade. It is undecided until the handler returns.
///
/// Returning `Err` declines with the error's code and text as an HTTP response.
#[derive(Debug)]
pub struct ConnectionContext {
    pub(crate) parts: Parts,
    pub(crate) route: Match,
    pub(crate) id: ConnectionId,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) client: Option<IpAddr>,
    pub(crate) states: States,
    pub(crate) observer: Arc<Observer>,
    pub(crate) passing: PassSlotRef<ConnectionContext>,
}

route_methods!(ConnectionContext: own "endpoint");

impl ConnectionContext {
    /// The value of a header, if it is there and is UTF-8 text (other values are in [`headers`](Self::headers)). The
    /// first such value if the header is repeated.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header_lines(name).next()
    }

    fn header_lines(&self, name: &str) -> impl Iterator<Item = &str> {
        self.parts.headers.get_all(name).into_iter().filter_map(|line| str::from_utf8(line.as_bytes()).ok())
    }

    /// All headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// The value of a cookie, as it was sent (RFC 6265 section 4.2; not decoded), if it is text. Other cookies in the
    /// same header may have values in any encoding.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let lines = self.parts.headers.get_all(http::header::COOKIE).into_iter();
        // Split as bytes, so that a cookie that is not text does not hide the others.
        lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';')).find_map(|pair| {
            let pair = pair.trim_ascii();
            let end = pair.iter().position(|byte| *byte == b'=')?;
            let value = (pair[..end] == *name.as_bytes()).then_some(&pair[end + 1..])?;
            // RFC 6265 section 4.1.1: the value may be in quotes.
            Some(str::from_utf8(value).ok()?.trim_matches('"'))
        })
    }

    /// The token of an `Authorization: Bearer` header (RFC 6750 section 2.1).
    pub fn bearer_token(&self) -> Option<&str> {
        self.header_lines("authorization").find_map(|line| {
            let (scheme, token) = line.split_once(' ')?;
            // RFC 9110 section 11.1: the name of a scheme is case-insensitive.
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim()).filter(|token| !token.is_empty())
        })
    }

    /// The subprotocols that the client offers, in its order of preference; none over an event stream. Browsers let a
    /// page set them and no other header, so a page can bring a token as one: see docs/protocol.md, Subprotocols.
    ///
    /// ```
    /// # use pondsocket::{Connected, ConnectionContext, Error, PondSocket, Result};
    /// # let pond = PondSocket::new();
    /// // In the page: new WebSocket(url, ["pond", "token." + token])
    /// pond.create_endpoint("/api/socket", async |ctx: ConnectionContext| {
    ///     let token = ctx.subprotocols().find_map(|name| name.strip_prefix("token."));
    ///     let token = token.ok_or(Error::unauthorized("who are you?"))?.to_owned();
    ///     Ok::<_, Error>(ctx.accept().user_id(&token).subprotocol("pond"))
    /// });
    /// ```
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        subprotocols(&self.parts.headers)
    }

    /// The path of the URL, as it was sent (not decoded).
    pub fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// The address of the client: that of the peer, unless it is one of
    /// [`Options::trusted_proxies`](crate::Options::trusted_proxies). Then the nearest address in
    /// [`client_address_header`](crate::Options::client_address_header) which is not one of them.
    pub fn client_ip(&self) -> Option<IpAddr> {
        self.client
    }

    /// The address of the peer, if the host server passes it on. Behind a proxy it is the address of the proxy.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The whole request, but for its body.
    pub fn request(&self) -> &Parts {
        &self.parts
    }

    /// The whole request, to change it for the layers and the handler inside of this layer: headers, or extensions.
    pub fn request_mut(&mut self) -> &mut Parts {
        &mut self.parts
    }

    /// The id that the connection will have. It is also the user id, unless [`Connected::user_id`] sets one.
    pub fn connection_id(&self) -> String {
        self.id.to_string()
    }

    /// Accepts the connection.
    pub fn accept(self) -> Connected {
        Connected {
            user: None,
            assigns: Assigns::default(),
            replies: Vec::new(),
            subprotocol: None,
            session: None,
            error: None,
        }
    }

    /// Leaves the decision to the next endpoint whose pattern matches; 404 if there is none.
    ///
    /// # Errors
    /// Always: return it.
    pub fn pass<T>(mut self) -> Result<T> {
        // The reference is taken out first, because `leave` moves the context that holds it.
        std::mem::take(&mut self.passing).leave(self);
        Err(Error::passed())
    }
}

impl Routed for ConnectionContext {
    fn own(&self) -> &Match {
        &self.route
    }
}

impl sealed::Sealed for ConnectionContext {}

impl Context for ConnectionContext {
    type Answer = Connected;

    fn states(&self) -> &States {
        &self.states
    }
}

impl Passable for ConnectionContext {
    type Handover = PassSlot<ConnectionContext>;

    fn handover(&mut self) -> PassSlot<ConnectionContext> {
        let slot = PassSlot::new();
        self.passing = slot.downgrade();
        slot
    }

    fn take_passed(slot: &PassSlot<ConnectionContext>) -> Option<ConnectionContext> {
        slot.take()
    }
}

/// An accepted connection with its initial state.
///
/// The first error of the chain declines the connection when it is returned: with 500 a value that does not serialise or an
/// invalid user id, with 400 a [session key](Self::session) of another length, which is the client's. Assigns that are larger
/// than `max_assigns_size` decline it with 413.
#[derive(Debug)]
#[must_use = "return it from the connection handler"]
pub struct Connected {
    pub(crate) user: Option<UserId>,
    pub(crate) assigns: Assigns,
    pub(crate) replies: Vec<(String, Object)>,
    pub(crate) subprotocol: Option<Box<str>>,
    pub(crate) session: Option<Box<str>>,
    pub(crate) error: Option<Error>,
}

impl Connected {
    /// Sets the user of the connection. Several connections may share a user id: in a channel they are one member.
    ///
    /// An id has 1 to 128 bytes, no control characters, and is not `CHANNEL`, `GATEWAY` or `ENDPOINT`.
    pub fn user_id(mut self, id: &str) -> Self {
        match UserId::new(id) {
            Ok(user) => self.user = Some(user),
            // An error of the application, not of the client: the id is the handler's choice.
            Err(error) => self.fail(Error::internal(error).in_call("accept().user_id")),
        }
        self
    }

    /// Sets an assign of the connection: the memberships that it joins start with a copy.
    pub fn assign<T: Serialize + ?Sized>(mut self, key: &str, value: &T) -> Self {
        match Json::encode(value) {
            Ok(value) => self.assigns.set(key, &value),
            Err(error) => self.fail(encoding(error).in_call("accept().assign")),
        }
        self
    }

    /// Sends a system message to the new connection on the channel `GATEWAY`. Stock clients don't show it to their
    /// users.
    pub fn reply<T: Serialize + ?Sized>(mut self, event: &str, payload: &T) -> Self {
        let encode = || {
            // Clients act on reserved names by themselves (docs/protocol.md, Names and patterns).
            check_event(event)?;
            Object::encode(payload).map_err(encoding)
        };
        match encode() {
            Ok(payload) => self.replies.push((event.to_owned(), payload)),
            Err(error) => self.fail(error.in_call("accept().reply")),
        }
        self
    }

    /// Selects a subprotocol that the client offers, in place of the one by `Options::subprotocols`. A subprotocol that
    /// the client does not offer declines the connection with 500. It has no effect over an event stream, which has
    /// none.
    ///
    /// A browser that offers subprotocols closes the connection if the server selects none.
    pub fn subprotocol(mut self, name: &str) -> Self {
        self.subprotocol = Some(name.into());
        self
    }

    /// Names the session of the client, by a key that the client sends again when it reconnects and no other client has: a
    /// random text in the URL, made by the page. Then a client that does not know its own position, as those that are
    /// published, resumes the channels that keep a history ([`Lobby::history`](crate::Lobby::history)): the server knows by
    /// answers to pings what it has received. Joins of the client see it in [`JoinContext::recovery`](crate::JoinContext::recovery).
    /// The client of an event stream answers nothing: what was sent on it may come again, unless the client sends
    /// `Last-Event-ID` (docs/protocol.md, Positions).
    ///
    /// A session belongs to one user: with another user id it is a new one. Where the application names no user the session
    /// gives the user id back, so the key is a secret there. An empty key is no session. Two
    /// clients with the same key, such as a cloned page, are told apart while both are connected: the later one has no session.
    /// An event stream with the key of an open one takes its place, and ends it.
    ///
    /// A key of another length declines the connection with 400: it has 16 to 128 characters, and at least 22 without a user id.
    pub fn session(mut self, key: &str) -> Self {
        match key.chars().count() {
            0 => {}
            16..=128 => self.session = Some(key.into()),
            _ => {
                let error = Error::bad_request("a session key has 16 to 128 characters");
                self.fail(error.in_call("accept().session"));
            }
        }
        self
    }

    fn fail(&mut self, error: Error) {
        // The chain is a builder that cannot return an error at each step, so the first one is kept until it is
        // returned.
        self.error.get_or_insert(error);
    }
}
