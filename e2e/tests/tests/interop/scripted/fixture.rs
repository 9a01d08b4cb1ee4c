//! The fixture of a scripted case: a room with the user "cat", on a node of ours, and "dan", of a scripted node.

use std::sync::Arc;

use serde_json::Value;

use super::Flavour;
use super::foreign_node::ForeignNode;
use crate::client::{Client, Identity};
use crate::node::NodeAddress;
use crate::node_pair::is_there;
use crate::redis::Redis;

pub(crate) struct ScriptedFixture {
    redis: Arc<Redis>,
    node: NodeAddress,
    room: String,
    pub(crate) flavour: Flavour,
    pub(crate) foreign_node: ForeignNode,
    pub(crate) dan: Identity,
}

impl ScriptedFixture {
    pub(crate) fn new(redis: &Arc<Redis>, node: NodeAddress, flavour: Flavour, room: String) -> ScriptedFixture {
        let foreign_node = ForeignNode::new(redis, flavour, &room);
        let redis = Arc::clone(redis);
        ScriptedFixture {
            redis,
            node,
            room,
            flavour,
            foreign_node,
            dan: Identity { id: "dan".into(), name: "dan".into() },
        }
    }

    /// A further node of the same language.
    pub(crate) fn another_foreign_node(&self) -> ForeignNode {
        ForeignNode::new(&self.redis, self.flavour, &self.room)
    }

    /// A further node of the same language, in a channel without other members.
    pub(crate) fn foreign_node_elsewhere(&self) -> (ForeignNode, String) {
        let channel = format!("{}-elsewhere", self.room);
        (ForeignNode::new(&self.redis, self.flavour, &channel), channel)
    }

    /// The positions of these messages among all published ones.
    pub(crate) fn order_of(&self, messages: &[&Value]) -> Vec<Option<usize>> {
        let all = self.redis.all();
        messages.iter().map(|message| all.iter().position(|received| received.message == **message)).collect()
    }

    /// Joins a further client on cat's node.
    pub(crate) async fn client(&self, name: &str) -> Client {
        Client::join(self.node, &self.room, name).await
    }

    /// Joins cat, and waits until her node has requested the state: by then it has subscribed.
    pub(crate) async fn cat(&self) -> Client {
        let cat = self.client("cat").await;
        self.foreign_node.receives("STATE_REQUEST", |_| true).await;
        cat
    }

    /// Joins cat and dan, and waits until cat's node knows dan.
    pub(crate) async fn cat_with_dan(&self) -> Client {
        let mut cat = self.cat().await;
        self.foreign_node.add_user(&self.dan.id).await;
        cat.knows("dan", |state| is_there(state, &self.dan)).await;
        cat
    }
}
