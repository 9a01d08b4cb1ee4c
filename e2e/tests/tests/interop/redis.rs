//! A Redis of our own, and an ear on all that is said over it.

use futures_util::StreamExt;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, Client};
use serde_json::Value;
use testkit::{DEADLINE, RedisServer};
use tokio::sync::watch;
use tokio::time::timeout;

/// Killed when it is dropped.
pub(crate) struct Redis {
    pub(crate) url: String,
    connection: MultiplexedConnection,
    heard: watch::Receiver<Vec<Heard>>,
    _server: RedisServer,
}

/// A message between nodes.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) topic: String,
    pub(crate) message: Value,
}

impl Redis {
    pub(crate) async fn start() -> Redis {
        let server = RedisServer::start().await;
        let client = Client::open(server.url()).expect("an address");
        let connection = client.get_multiplexed_async_connection().await.expect("Redis is there");
        let heard = listen(&client).await;
        Redis { url: server.url(), connection, heard, _server: server }
    }

    pub(crate) async fn publish(&self, topic: &str, message: &Value) {
        let () = self.connection.clone().publish(topic, message.to_string()).await.expect("Redis is there");
    }

    /// The first such message, as soon as there is one.
    pub(crate) async fn hears(&self, what: &str, is: impl Fn(&Heard) -> bool) -> Heard {
        let mut heard = self.heard.clone();
        let all = timeout(DEADLINE, heard.wait_for(|all| all.iter().any(&is))).await;
        let all = all.unwrap_or_else(|_| panic!("no node has said {what}")).expect("it listens");
        all.iter().find(|heard| is(heard)).expect("just seen").clone()
    }

    /// All that was said until now.
    pub(crate) fn all(&self) -> Vec<Heard> {
        self.heard.borrow().clone()
    }

    /// Puts it into a file, a message a line, to find out what has gone wrong.
    pub(crate) fn write_down(&self, file: &str) {
        let lines: Vec<_> = self.all().iter().map(|Heard { topic, message }| format!("{topic} {message}\n")).collect();
        std::fs::write(file, lines.concat()).expect("a file that can be written");
    }
}

/// Remembers all messages that are published from now on.
async fn listen(client: &Client) -> watch::Receiver<Vec<Heard>> {
    let mut subscription = client.get_async_pubsub().await.expect("Redis is there");
    subscription.psubscribe("pondsocket:*").await.expect("Redis is there");
    let (write, read) = watch::channel(Vec::new());
    tokio::spawn(async move {
        let mut messages = subscription.into_on_message();
        while let Some(message) = messages.next().await {
            let topic = message.get_channel_name().to_owned();
            let message = serde_json::from_slice(message.get_payload_bytes()).expect("nodes say JSON");
            write.send_modify(|all: &mut Vec<Heard>| all.push(Heard { topic, message }));
        }
    });
    read
}
