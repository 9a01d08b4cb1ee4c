use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use pondsocket_proto::channel::{Departure, Full, Limits, To};
use pondsocket_proto::id::{ChannelName, ConnectionId};
use pondsocket_proto::pattern::{Match, Pattern};
use pondsocket_proto::wire::Json;
use serde::Serialize;

use crate::channel::Channel;
use crate::common::Common;
use crate::context::{ConnectionContext, JoinContext, LeaveContext, LeaveReason};
use crate::delivery::Delivery;
use crate::error::{Error, Result, encoding};
use crate::guard;
use crate::handler::{BoxFuture, Erased, Handler, erase};
use crate::hub::Hub;
use crate::link::Link;
use crate::live::LiveChannel;
use crate::lobby::{Lobby, LobbyInner, check_new, parse};
use crate::options::{EndpointOptions, Options};
use crate::outgoing::with_broadcast;
use crate::states::States;
use crate::sync::Mutex;
use crate::user::User;
use crate::websocket::WebSocket;

/// A live channel of connections.
pub(crate) type Live = LiveChannel<Arc<Link>>;

/// Where clients connect: who may come in, the channels they can join, and the connections there are.
///
/// Cheap to clone. Everything may be called at any time, and affects later connections and joins.
#[derive(Clone, Debug)]
pub struct Endpoint(pub(crate) Arc<EndpointInner>);

/// What happens to those who come in.
#[derive(Clone)]
pub(crate) enum Door {
    /// They speak the PondSocket protocol, if the handler lets them.
    Pond(Erased<ConnectionContext>),
    /// They get a raw WebSocket.
    Raw(Arc<dyn Fn(WebSocket) -> BoxFuture<()> + Send + Sync>),
}

pub(crate) struct EndpointInner {
    pub(crate) pattern: Pattern,
    pub(crate) door: Door,
    pub(crate) hub: Arc<Hub<Arc<Link>>>,
    pub(crate) common: Arc<Common>,
    options: RwLock<Arc<Options>>,
    lobbies: RwLock<Vec<Arc<LobbyInner>>>,
    connections: Mutex<HashMap<ConnectionId, Arc<Link>>>,
}

impl Endpoint {
    /// The pattern that paths are matched against.
    pub fn path(&self) -> &str {
        self.0.pattern.as_str()
    }

    /// Overrides options for this endpoint. It affects later connections.
    #[must_use]
    pub fn options(self, options: EndpointOptions) -> Self {
        let merged = options.apply(&self.0.common.options);
        *self.0.options.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(merged);
        self
    }

    /// Decides the joins of channels whose name matches `pattern`. The first pattern registered that matches wins.
    ///
    /// # Panics
    /// If the pattern is invalid or taken, or a [`State`](crate::State) is missing. See
    /// [`try_create_channel`](Self::try_create_channel).
    pub fn create_channel<M>(&self, pattern: &str, join: impl Handler<JoinContext, M>) -> Lobby {
        self.try_create_channel(pattern, join).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same, with an error in place of a panic.
    ///
    /// # Errors
    /// 400 if the pattern is invalid, 409 if it is taken.
    pub fn try_create_channel<M>(&self, pattern: &str, join: impl Handler<JoinContext, M>) -> Result<Lobby> {
        let pattern = parse(pattern)?;
        let join = erase(join, self.0.states());
        let mut lobbies = self.0.lobbies.write().unwrap_or_else(PoisonError::into_inner);
        check_new("channel", &pattern, lobbies.iter().map(|lobby| &lobby.pattern))?;
        let lobby = LobbyInner::new(pattern, join, self.0.states().clone());
        lobbies.push(Arc::clone(&lobby));
        Ok(Lobby(lobby))
    }

    /// The channel of this exact name, whether or not anybody is in it.
    ///
    /// # Errors
    /// 404 if no pattern matches it, 400 if it is reserved or over-long.
    pub fn channel(&self, name: &str) -> Result<Channel> {
        let name = self.0.channel_name(name)?;
        let (lobby, ..) =
            self.0.lobby_for(name.as_str(), 0).ok_or_else(|| Error::not_found("no channel pattern matches"))?;
        Ok(Channel::new(&self.0, name, lobby))
    }

    /// All connections of this endpoint on this node.
    pub fn connections(&self) -> Vec<Connection> {
        self.0.connections.lock().values().cloned().map(Connection).collect()
    }

    /// The connection with this id, if it is on this node.
    pub fn connection(&self, id: &str) -> Option<Connection> {
        self.0.connection(id.parse().ok()?).map(Connection)
    }

    /// Closes a connection with close code 1000: its memberships end at once.
    ///
    /// # Errors
    /// 404 if there is none with this id.
    pub fn disconnect(&self, id: &str) -> Result<()> {
        let connection = self.connection(id).ok_or_else(|| Error::not_found("no such connection"))?;
        connection.disconnect();
        Ok(())
    }
}

/// A connection, to act on from anywhere.
#[derive(Clone, Debug)]
pub struct Connection(Arc<Link>);

impl Connection {
    /// The connection's id.
    pub fn id(&self) -> String {
        self.0.id.to_string()
    }

    /// The id of its user.
    pub fn user_id(&self) -> &str {
        self.0.user.as_str()
    }

    /// The user id, and the connection's assigns.
    pub fn user(&self) -> User {
        User { id: self.0.user.clone(), assigns: self.0.assigns(), presence: None }
    }

    /// Sets an assign of the connection: later joins start with it.
    ///
    /// # Errors
    /// 500 if the value does not serialise.
    pub fn set_assign<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<()> {
        self.0.assign(key, Json::encode(value).map_err(encoding)?);
        Ok(())
    }

    /// Closes it with close code 1000: its memberships end at once. It does not wait for delivery: what was broadcast
    /// right before may not reach it.
    pub fn disconnect(&self) {
        self.close(1000, "disconnected by the server");
    }

    pub(crate) fn close(&self, code: u16, reason: &str) {
        self.0.close(code, reason);
    }
}

impl EndpointInner {
    pub(crate) fn new(pattern: Pattern, door: Door, common: Arc<Common>) -> Arc<EndpointInner> {
        let options = common.options.clone();
        let limits = Limits {
            soft_messages: options.channel_queue,
            soft_bytes: options.channel_queue_bytes,
            ..Limits::default()
        };
        Arc::new(EndpointInner {
            pattern,
            door,
            hub: Hub::new(limits),
            common,
            options: RwLock::new(Arc::new(options)),
            lobbies: RwLock::new(Vec::new()),
            connections: Mutex::new(HashMap::new()),
        })
    }

    pub(crate) fn states(&self) -> &States {
        &self.common.states
    }

    pub(crate) fn current_options(&self) -> Arc<Options> {
        Arc::clone(&self.options.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn channel_name(&self, name: &str) -> Result<ChannelName> {
        ChannelName::new(name, self.current_options().max_channel_name)
            .map_err(|error| Error::bad_request(error.to_string()))
    }

    /// The first lobby whose pattern matches `name`, of those from the `from`-th on.
    pub(crate) fn lobby_for(&self, name: &str, from: usize) -> Option<(usize, Match, Arc<LobbyInner>)> {
        let lobbies = self.lobbies.read().unwrap_or_else(PoisonError::into_inner);
        let mut rest = lobbies.iter().enumerate().skip(from);
        rest.find_map(|(at, lobby)| Some((at, lobby.pattern.matches(name)?, Arc::clone(lobby))))
    }

    pub(crate) fn lobby(&self, at: usize) -> Option<Arc<LobbyInner>> {
        self.lobbies.read().unwrap_or_else(PoisonError::into_inner).get(at).cloned()
    }

    pub(crate) fn connection(&self, id: ConnectionId) -> Option<Arc<Link>> {
        self.connections.lock().get(&id).cloned()
    }

    pub(crate) fn register(&self, link: &Arc<Link>) {
        self.connections.lock().insert(link.id, Arc::clone(link));
    }

    pub(crate) fn unregister(&self, id: ConnectionId) {
        let gone = self.connections.lock().remove(&id);
        drop(gone);
    }

    /// Encodes a broadcast and enqueues it: in `room` while that lives, else in whatever channel has its name now.
    pub(crate) fn broadcast<T: Serialize + ?Sized>(
        &self,
        room: Option<&Arc<Live>>,
        name: &str,
        to: &To,
        event: &str,
        payload: &T,
    ) -> Result<Delivery> {
        with_broadcast(name, event, payload, |text| self.enqueue(room.cloned(), name, to, text))?
    }

    fn enqueue(&self, mut room: Option<Arc<Live>>, name: &str, to: &To, text: &[u8]) -> Result<Delivery> {
        loop {
            let Some(live) = room.take().or_else(|| self.hub.get(name)) else { return Ok(Delivery::local(0)) };
            match live.change(|channel| channel.broadcast(to, text)) {
                Ok(Ok(members)) => return Ok(Delivery::local(members)),
                Ok(Err(Full)) => return Err(Error::unavailable("the channel's queue is full")),
                Err(_closed) => self.hub.remove(&live),
            }
        }
    }

    /// What the leave handler of a lobby makes of a departure, or `None` if there is no handler.
    pub(crate) fn leave(
        self: &Arc<Self>,
        name: ChannelName,
        lobby: usize,
        departure: Departure,
        reason: LeaveReason,
    ) -> Option<BoxFuture<Result<()>>> {
        let handler = self.lobby(lobby)?.leave_handler()?;
        let user = User::of(departure.user, departure.member);
        let ctx = LeaveContext { endpoint: Arc::clone(self), name, lobby, user, reason };
        Some(guard::call(|| handler(ctx)))
    }

    /// Runs the leave handler on a task of its own: whoever took the member out does not wait for it.
    pub(crate) fn spawn_leave(
        self: &Arc<Self>,
        name: ChannelName,
        lobby: usize,
        departure: Departure,
        reason: LeaveReason,
    ) {
        let (endpoint, deadline) = (Arc::clone(self), self.current_options().handler_timeout);
        self.hub.spawn(async move {
            let Some(handler) = endpoint.leave(name.clone(), lobby, departure, reason) else { return };
            if let Err(error) = guard::run(handler, deadline).await {
                tracing::error!(channel = name.as_str(), ?error, "leave handler failed");
            }
        });
    }
}

impl fmt::Debug for EndpointInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("pattern", &self.pattern.as_str()).finish_non_exhaustive()
    }
}
