//! The fixture of a case: a room of its own on two nodes.

use serde_json::Value;

use crate::client::{Client, Identity};
use crate::node::NodeAddress;

pub(crate) struct NodePair {
    /// The node whose client acts.
    pub(crate) here: NodeAddress,
    /// The node whose client observes the effect.
    pub(crate) there: NodeAddress,
    pub(crate) room: String,
}

impl NodePair {
    /// Joins a client on the acting node.
    pub(crate) async fn here(&self, name: &str) -> Client {
        Client::join(self.here, &self.room, name).await
    }

    /// Joins a client on the observing node.
    pub(crate) async fn there(&self, name: &str) -> Client {
        Client::join(self.there, &self.room, name).await
    }

    /// Joins ann on the acting and bob on the observing node, and waits until both nodes know both. The client of this server joins
    /// last: the published Rust server sometimes requests the state before it has subscribed, which the case `late join` tests.
    pub(crate) async fn pair(&self) -> (Client, Client) {
        let (mut ann, mut bob);
        if self.here.is_ours {
            bob = self.there("bob").await;
            ann = self.here("ann").await;
        } else {
            ann = self.here("ann").await;
            bob = self.there("bob").await;
        }
        let both = [ann.identity.clone(), bob.identity.clone()];
        ann.knows("both", |state| both.iter().all(|user| is_there(state, user))).await;
        bob.knows("both", |state| both.iter().all(|user| is_there(state, user))).await;
        (ann, bob)
    }
}

/// Returns `true` if a node knows both the assigns and the presence of a user.
pub(crate) fn is_there(state: &Value, user: &Identity) -> bool {
    state["assigns"][&user.id]["username"] == *user.name && state["presence"][&user.id]["username"] == *user.name
}

/// Returns `true` if a node knows neither assigns nor presence of a user.
pub(crate) fn is_gone(state: &Value, user: &Identity) -> bool {
    state["assigns"][&user.id].is_null() && state["presence"][&user.id].is_null()
}
