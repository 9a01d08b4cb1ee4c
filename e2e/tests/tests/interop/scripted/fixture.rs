//! The fixture of a scripted case: a room with the user "cat", on a node of ours, and "dan", of a scripted node.

use std::sync::Arc;

use serde_json::Value;

use super::Flavour;
use super::stranger::Stranger;
use crate::client::{Client, Who};
use crate::meeting::is_there;
use crate::node::Place;
use crate::redis::Redis;

pub(crate) struct Fixture {
    redis: Arc<Redis>,
    node: Place,
    room: String,
    pub(crate) flavour: Flavour,
    pub(crate) stranger: Stranger,
    pub(crate) dan: Who,
}

impl Fixture {
    pub(crate) fn new(redis: &Arc<Redis>, node: Place, flavour: Flavour, room: String) -> Fixture {
        let stranger = Stranger::new(redis, flavour, &room);
        let redis = Arc::clone(redis);
        Fixture { redis, node, room, flavour, stranger, dan: Who { id: "dan".into(), name: "dan".into() } }
    }

    /// A further node of the same language.
    pub(crate) fn another_stranger(&self) -> Stranger {
        Stranger::new(&self.redis, self.flavour, &self.room)
    }

    /// A further node of the same language, in a channel that nobody else is in.
    pub(crate) fn stranger_elsewhere(&self) -> (Stranger, String) {
        let channel = format!("{}-elsewhere", self.room);
        (Stranger::new(&self.redis, self.flavour, &channel), channel)
    }

    /// The places of these messages among all that was said.
    pub(crate) fn order_of(&self, messages: &[&Value]) -> Vec<Option<usize>> {
        let all = self.redis.all();
        messages.iter().map(|message| all.iter().position(|heard| heard.message == **message)).collect()
    }

    /// Somebody else on the same node as cat.
    pub(crate) async fn client(&self, name: &str) -> Client {
        Client::join(self.node, &self.room, name).await
    }

    /// Cat alone. Her node listens, since it has asked who is there.
    pub(crate) async fn cat(&self) -> Client {
        let cat = self.client("cat").await;
        self.stranger.hears("STATE_REQUEST", |_| true).await;
        cat
    }

    /// Cat, who knows dan.
    pub(crate) async fn cat_with_dan(&self) -> Client {
        let mut cat = self.cat().await;
        self.stranger.lets_in(&self.dan.id).await;
        cat.knows("dan", |state| is_there(state, &self.dan)).await;
        cat
    }
}
