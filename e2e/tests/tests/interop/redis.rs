//! A Redis of its own, with a record of all messages that are published on it.

use futures_util::StreamExt;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, Client};
use serde_json::Value;
use testkit::{DEADLINE, RedisServer};
use tokio::sync::watch;
use tokio::time::timeout;

/// A Redis process. It is killed when this is dropped.
pub(crate) struct Redis {
    pub(crate) url: String,
    connection: MultiplexedConnection,
    received: watch::Receiver<Vec<BusMessage>>,
    _server: RedisServer,
}

/// A message between nodes, and its topic.
#[derive(Clone, Debug)]
pub(crate) struct BusMessage {
    pub(crate) topic: String,
    pub(crate) message: Value,
}

impl Redis {
    pub(crate) async fn start() -> Redis {
        let server = RedisServer::start().await;
        let client = Client::open(server.url()).expect("an address");
        let connection = client.get_multiplexed_async_connection().await.expect("Redis is there");
        let received = listen(&client).await;
        Redis { url: server.url(), connection, received, _server: server }
    }

    pub(crate) async fn publish(&self, topic: &str, message: &Value) {
        let () = self.connection.clone().publish(topic, message.to_string()).await.expect("Redis is there");
    }

    /// Waits for the first message that satisfies a condition.
    pub(crate) async fn receives(&self, what: &str, is: impl Fn(&BusMessage) -> bool) -> BusMessage {
        let mut received = self.received.clone();
        let all = timeout(DEADLINE, received.wait_for(|all| all.iter().any(&is))).await;
        let all = all.unwrap_or_else(|_| panic!("no node has published {what}")).expect("it listens");
        all.iter().find(|received| is(received)).expect("just seen").clone()
    }

    /// All messages published so far.
    pub(crate) fn all(&self) -> Vec<BusMessage> {
        self.received.borrow().clone()
    }

    /// Writes all messages to a file, one in each line, for diagnosis.
    pub(crate) fn write_log(&self, file: &str) {
        let lines: Vec<_> =
            self.all().iter().map(|BusMessage { topic, message }| format!("{topic} {message}\n")).collect();
        std::fs::write(file, lines.concat()).expect("a file that can be written");
    }
}

/// Subscribes to all topics, and records their messages from now on.
async fn listen(client: &Client) -> watch::Receiver<Vec<BusMessage>> {
    let mut subscription = client.get_async_pubsub().await.expect("Redis is there");
    subscription.psubscribe("pondsocket:*").await.expect("Redis is there");
    let (write, read) = watch::channel(Vec::new());
    tokio::spawn(async move {
        let mut messages = subscription.into_on_message();
        while let Some(message) = messages.next().await {
            let topic = message.get_channel_name().to_owned();
            let message = serde_json::from_slice(message.get_payload_bytes()).expect("nodes publish JSON");
            write.send_modify(|all: &mut Vec<BusMessage>| all.push(BusMessage { topic, message }));
        }
    });
    read
}
