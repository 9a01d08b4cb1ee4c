//! The fixture of a case: one room of its own, on two nodes.

use serde_json::Value;

use crate::client::{Client, Who};
use crate::node::Place;

pub(crate) struct Meeting {
    /// The node whose client does something.
    pub(crate) here: Place,
    /// The node whose client should see it.
    pub(crate) there: Place,
    pub(crate) room: String,
}

impl Meeting {
    /// Somebody joins on the node that acts.
    pub(crate) async fn here(&self, name: &str) -> Client {
        Client::join(self.here, &self.room, name).await
    }

    /// Somebody joins on the node that watches.
    pub(crate) async fn there(&self, name: &str) -> Client {
        Client::join(self.there, &self.room, name).await
    }

    /// Ann here and bob there, whom both nodes know. Ours is the later one: the published Rust server at times asks who is
    /// there before it listens, which is judged as a late join.
    pub(crate) async fn pair(&self) -> (Client, Client) {
        let (mut ann, mut bob);
        if self.here.is_ours {
            bob = self.there("bob").await;
            ann = self.here("ann").await;
        } else {
            ann = self.here("ann").await;
            bob = self.there("bob").await;
        }
        let both = [ann.who.clone(), bob.who.clone()];
        ann.knows("both", |state| both.iter().all(|who| is_there(state, who))).await;
        bob.knows("both", |state| both.iter().all(|who| is_there(state, who))).await;
        (ann, bob)
    }
}

/// Returns `true` if a node knows both the assigns and the presence of a user.
pub(crate) fn is_there(state: &Value, who: &Who) -> bool {
    state["assigns"][&who.id]["username"] == *who.name && state["presence"][&who.id]["username"] == *who.name
}

/// Returns `true` if a node knows neither assigns nor presence of a user.
pub(crate) fn is_gone(state: &Value, who: &Who) -> bool {
    state["assigns"][&who.id].is_null() && state["presence"][&who.id].is_null()
}
