//! The names of all nodes, in Redis.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, Pipeline, pipe};

/// The time that Redis has to connect, and to respond.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The time that a name stays reserved after its last connection, in seconds: a day.
const RESERVED: u32 = 86_400;

/// A Redis, connected at the first use and again after an error. Clones share the connection.
#[derive(Clone)]
pub(crate) struct Store {
    client: Client,
    prefix: &'static str,
    connection: Arc<Mutex<Option<MultiplexedConnection>>>,
}

impl Store {
    /// A store whose keys begin with `prefix`.
    pub(crate) fn new(url: &str, prefix: &'static str) -> Result<Store> {
        let client = Client::open(url).context("this is not the URL of a Redis")?;
        Ok(Store { client, prefix, connection: Arc::default() })
    }

    /// Reserves a name for the owner of a token. Returns `false` if it is reserved for another one.
    pub(crate) async fn reserve(&self, name: &str, token: &str) -> Result<bool> {
        let key = self.key(&format!("name:{name}"));
        let mut commands = pipe();
        // Redis runs them as one: of two nodes that reserve a name at the same time, one is first.
        commands.atomic();
        commands.cmd("SET").arg(&key).arg(token).arg("NX").ignore();
        commands.cmd("EXPIRE").arg(&key).arg(RESERVED).ignore();
        commands.cmd("GET").arg(&key);
        let (owner,): (String,) = self.run(&commands).await?;
        Ok(owner == token)
    }

    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    async fn run<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T> {
        let mut connection = self.connect().await?;
        let answer = commands.query_async(&mut connection).await;
        if answer.is_err() {
            *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        Ok(answer?)
    }

    async fn connect(&self) -> Result<MultiplexedConnection> {
        let connected = self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(connection) = connected {
            return Ok(connection);
        }
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(TIMEOUT)).set_response_timeout(Some(TIMEOUT));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.clone());
        Ok(connection)
    }
}
