mod broadcast;
mod connection;
mod inner;
mod leave;
mod restart;
mod settings;

use std::sync::{Arc, PoisonError};

pub(crate) use broadcast::{Broadcast, BroadcastSource};
pub use connection::Connection;
pub(crate) use connection::disconnected;
pub(crate) use inner::{EndpointInner, EndpointKind, Live, ReachedPosition};
pub(crate) use leave::{GhostLeaves, Leave};
pub(crate) use settings::EndpointSettings;

use crate::channel::Channel;
use crate::context::{ConnectionContext, EventContext, JoinContext, LeaveContext};
use crate::error::{Error, OrPanic, Result};
use crate::handler::{Handler, erase};
use crate::lobby::{Lobby, LobbyInner};
use crate::middleware::Layer;
use crate::options::EndpointOptions;
use crate::outgoing::OutgoingLayer;
use crate::pond::registration::{check_new, parse};

/// A path at which clients connect: the handler that lets them in, the channels they can join, and the connections there are.
///
/// Cheap to clone. Everything may be called at any time, and affects later connections and joins.
#[derive(Clone, Debug)]
pub struct Endpoint(pub(crate) Arc<EndpointInner>);

impl Endpoint {
    /// The pattern that paths are matched against.
    pub fn path(&self) -> &str {
        self.0.pattern.as_str()
    }

    /// Overrides options for this endpoint. It affects later connections.
    ///
    /// # Panics
    /// If they can't work; the message names the field. See [`try_options`](Self::try_options).
    #[must_use]
    #[track_caller]
    pub fn options(self, options: EndpointOptions) -> Self {
        self.try_options(options).or_panic()
    }

    /// The same, with an error in place of a panic.
    ///
    /// # Errors
    /// 400 if they can't work; the message names the field.
    pub fn try_options(self, options: EndpointOptions) -> Result<Self> {
        let settings = EndpointSettings::new(options.over(&self.0.common.options), &self.0.common.memory)?;
        *self.0.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        Ok(self)
    }

    /// Puts a layer around the connection handler (see [`middleware`](crate::middleware)).
    ///
    /// # Panics
    /// If a [`State`](crate::State) is missing.
    pub fn layer<M>(&self, layer: impl Layer<ConnectionContext, M>) -> &Self {
        self.0.layers.connection.push(layer, self.0.states());
        self
    }

    /// Puts a layer around every join of the endpoint's channels.
    ///
    /// # Panics
    /// If a [`State`](crate::State) is missing.
    pub fn layer_joins<M>(&self, layer: impl Layer<JoinContext, M>) -> &Self {
        self.0.layers.join.push(layer, self.0.states());
        self
    }

    /// Puts a layer around every event of the endpoint's channels, also around those that no handler matches.
    ///
    /// # Panics
    /// If a [`State`](crate::State) is missing.
    pub fn layer_events<M>(&self, layer: impl Layer<EventContext, M>) -> &Self {
        self.0.layers.event.push(layer, self.0.states());
        self
    }

    /// Puts a layer around every leave of the endpoint's channels, also where there is no leave handler.
    ///
    /// # Panics
    /// If a [`State`](crate::State) is missing.
    pub fn layer_leaves<M>(&self, layer: impl Layer<LeaveContext, M>) -> &Self {
        self.0.layers.leave.push(layer, self.0.states());
        self
    }

    /// Puts a layer around every broadcast and reply of the endpoint's channels, for each recipient: none of them is
    /// delivered as one message for all any more.
    ///
    /// # Panics
    /// If a [`State`](crate::State) is missing.
    pub fn layer_outgoing<M>(&self, layer: impl OutgoingLayer<M>) -> &Self {
        self.0.layers.outgoing.push(layer, self.0.states());
        self
    }

    /// Decides the joins of channels whose name matches `pattern`. The first pattern registered that matches wins.
    ///
    /// # Panics
    /// If the pattern is invalid or taken, or a [`State`](crate::State) is missing. See
    /// [`try_create_channel`](Self::try_create_channel).
    #[track_caller]
    pub fn create_channel<M>(&self, pattern: &str, join: impl Handler<JoinContext, M>) -> Lobby {
        self.try_create_channel(pattern, join).or_panic()
    }

    /// The same, with an error in place of a panic.
    ///
    /// # Errors
    /// 400 if the pattern is invalid, 409 if it is taken.
    pub fn try_create_channel<M>(&self, pattern: &str, join: impl Handler<JoinContext, M>) -> Result<Lobby> {
        let pattern = parse(pattern)?;
        let join = erase(join, self.0.states());
        let mut lobbies = self.0.lobbies.write().unwrap_or_else(PoisonError::into_inner);
        check_new("channel", &pattern, lobbies.iter().map(|lobby| &*lobby.pattern))?;
        let (states, observer) = (self.0.states().clone(), Arc::clone(&self.0.observer));
        let lobby = LobbyInner::new(pattern, join, states, observer, Arc::clone(&self.0.layers));
        lobbies.push(Arc::clone(&lobby));
        Ok(Lobby(lobby))
    }

    /// The channel of this exact name, with members or without.
    ///
    /// # Errors
    /// 404 if no pattern matches it, 400 if it is reserved or over-long.
    pub fn channel(&self, name: &str) -> Result<Channel> {
        let name = self.0.channel_name(name)?;
        self.0.lobby_for(name.as_str(), 0).ok_or_else(|| Error::not_found("no channel pattern matches"))?;
        Ok(Channel::new(&self.0, name))
    }

    /// All connections of this endpoint on this node.
    pub fn connections(&self) -> Vec<Connection> {
        let handles = self.0.handles().into_iter();
        handles.filter(|handle| handle.is_open()).map(Connection).collect()
    }

    /// The connection with this id, if it is on this node.
    pub fn connection(&self, id: &str) -> Option<Connection> {
        self.0.connection(id.parse().ok()?).map(Connection)
    }

    /// Closes a connection with close code 1000: its memberships end at once, and it gets what was sent to it before.
    ///
    /// # Errors
    /// 404 if there is none with this id.
    pub fn disconnect(&self, id: &str) -> Result<()> {
        let connection = self.connection(id).ok_or_else(|| Error::not_found("no such connection"))?;
        connection.disconnect();
        Ok(())
    }
}
