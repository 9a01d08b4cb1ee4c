//! The bus over a real Redis passes the suite that every bus should pass.

mod support;

use std::sync::Arc;

use pondsocket::cluster::{BoxFuture, Bus};
use pondsocket::testing::bus::{Breaker, Subject};
use pondsocket_redis::RedisBus;
use support::RedisServer;

/// A Redis of its own for each case. Losing it is losing its process.
struct OneRedis(RedisServer);

impl Subject for OneRedis {
    fn bus(&self) -> Arc<dyn Bus> {
        Arc::new(RedisBus::new(self.0.options()).expect("options that can work"))
    }

    fn breaker(&self) -> Option<&dyn Breaker> {
        Some(self)
    }
}

impl Breaker for OneRedis {
    fn cut(&self) -> BoxFuture<'_, ()> {
        self.0.kill();
        Box::pin(std::future::ready(()))
    }

    fn restore(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.restart())
    }
}

pondsocket::bus_conformance!(OneRedis(RedisServer::start().await), leases, faults);
