//! The bus over a real Redis passes the suite that every bus should pass.

mod support;

use std::sync::Arc;

use pondsocket::cluster::{BoxFuture, Bus};
use pondsocket::testing::bus::{Breaker, BusUnderTest};
use pondsocket_redis::{RedisBus, RedisOptions};
use support::options;
use testkit::RedisServer;
use tokio::sync::Mutex;

/// A Redis of its own for each case. Losing it is losing its process.
struct OneRedis {
    options: RedisOptions,
    server: Mutex<RedisServer>,
}

impl OneRedis {
    async fn start() -> OneRedis {
        let server = RedisServer::start().await;
        OneRedis { options: options(&server), server: Mutex::new(server) }
    }
}

impl BusUnderTest for OneRedis {
    fn bus(&self) -> Arc<dyn Bus> {
        Arc::new(RedisBus::new(self.options.clone()).expect("options that can work"))
    }

    fn breaker(&self) -> Option<&dyn Breaker> {
        Some(self)
    }
}

impl Breaker for OneRedis {
    fn cut(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.server.lock().await.kill().await })
    }

    fn restore(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.server.lock().await.restart().await })
    }
}

pondsocket::bus_conformance!(OneRedis::start().await, leases, faults, history, history_faults);
