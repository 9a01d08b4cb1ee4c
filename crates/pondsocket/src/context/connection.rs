use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;
use pondsocket_proto::channel::Assigns;
use pondsocket_proto::id::{ConnectionId, UserId};
use pondsocket_proto::pattern::Match;
use pondsocket_proto::wire::{Json, Object};
use serde::Serialize;

use super::route::route_methods;
use crate::error::{Error, Result, encoding};
use crate::handler::{Context, sealed};
use crate::json::encode::check_event;
use crate::metrics::Observer;
use crate::pond::states::States;

/// A client that asks to come in, before the upgrade: nothing has been promised to it yet.
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
}

route_methods!(ConnectionContext, "endpoint");

impl ConnectionContext {
    /// A header's value, if it is there and is text. The first one if it is repeated.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// All headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// A cookie's value, as it was sent (RFC 6265 section 4.2; not decoded).
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let lines = self.parts.headers.get_all(http::header::COOKIE).into_iter();
        lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find_map(|(key, value)| (key == name).then(|| value.trim_matches('"')))
    }

    /// The token of an `Authorization: Bearer` header (RFC 6750 section 2.1).
    pub fn bearer_token(&self) -> Option<&str> {
        let (scheme, token) = self.header("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim()).filter(|token| !token.is_empty())
    }

    /// The path of the URL, as it was sent (not decoded).
    pub fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// The address of the client: that of the peer, unless it is one of
    /// [`Options::trusted_proxies`](crate::Options::trusted_proxies). Then the nearest address in `Forwarded` (RFC
    /// 7239) or `X-Forwarded-For` which is not one of them.
    pub fn client_ip(&self) -> Option<IpAddr> {
        self.client
    }

    /// The address of the peer, where the host told it: behind a proxy that of the proxy.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The whole request, but for its body.
    pub fn request(&self) -> &Parts {
        &self.parts
    }

    /// The same, to change what whoever comes after this layer sees: headers, or its extensions.
    pub fn request_mut(&mut self) -> &mut Parts {
        &mut self.parts
    }

    /// The id the connection will have. It is the user id too, unless [`Connected::user_id`] sets one.
    pub fn connection_id(&self) -> String {
        self.id.to_string()
    }

    /// Lets the client in.
    pub fn accept(self) -> Connected {
        Connected { user: None, assigns: Assigns::default(), replies: Vec::new(), error: None }
    }

    /// Leaves the decision to the next endpoint whose pattern matches; 404 if there is none.
    ///
    /// # Errors
    /// Always: return it.
    pub fn pass<T>(self) -> Result<T> {
        Err(Error::pass(self))
    }

    fn route(&self) -> &Match {
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

/// An accepted connection, and what it starts with.
///
/// The first mistake of the chain (a value that does not serialise, an invalid user id) declines the connection
/// with 500 when it is returned; assigns that are larger than `max_assigns_size` decline it with 413.
#[derive(Debug)]
#[must_use = "return it from the connection handler"]
pub struct Connected {
    pub(crate) user: Option<UserId>,
    pub(crate) assigns: Assigns,
    pub(crate) replies: Vec<(String, Object)>,
    pub(crate) error: Option<Error>,
}

impl Connected {
    /// Says whose connection this is. Several connections may share a user id: they are one member of a channel.
    ///
    /// An id has 1 to 128 bytes, no control characters, and is not `CHANNEL`, `GATEWAY` or `ENDPOINT`.
    pub fn user_id(mut self, id: &str) -> Self {
        match UserId::new(id) {
            Ok(user) => self.user = Some(user),
            Err(error) => self.fail(Error::internal(error)),
        }
        self
    }

    /// Sets an assign of the connection: the memberships that it joins start with a copy.
    pub fn assign<T: Serialize + ?Sized>(mut self, key: &str, value: &T) -> Self {
        match Json::encode(value) {
            Ok(value) => self.assigns.set(key, value),
            Err(error) => self.fail(encoding(error)),
        }
        self
    }

    /// Sends a system message to the new connection on the channel `GATEWAY`. Stock clients don't show it to their
    /// users.
    pub fn reply<T: Serialize + ?Sized>(mut self, event: &str, payload: &T) -> Self {
        match check_event(event).and_then(|()| Object::encode(payload).map_err(encoding)) {
            Ok(payload) => self.replies.push((event.to_owned(), payload)),
            Err(error) => self.fail(error),
        }
        self
    }

    fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }
}
