use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pondsocket::cluster::{
    Append, Appended, BoxFuture, Bus, BusError, BusErrorKind, BusSink, BusStats, Caps, Epoch, GapCause, HistoryStore,
    Lease, Leases, NodeId, Outcome, Position, Publish, Stop, StoredHistory, StoredRecord, Topic,
};
use tokio::task::JoinSet;

use crate::connect::Connector;
use crate::history::{self, PutQuestion, Question};
use crate::leases::LeaseTable;
use crate::options::RedisOptions;
use crate::publisher::Publisher;
use crate::stats::Counters;
use crate::subscriber::Subscriber;

/// A bus over Redis: see the [crate](crate).
///
/// [`run`](Bus::run) makes two connections. Messages on all topics go out in the order of the calls of
/// [`publish`](Bus::publish) and [`append`](HistoryStore::append).
///
/// Histories are in the database of the options. A history that Redis may have lost the end of, by a restart or a failover,
/// begins anew.
pub struct RedisBus {
    options: RedisOptions,
    connector: Connector,
    publisher: Publisher,
    subscriber: Subscriber,
    leases: LeaseTable,
    counters: Arc<Counters>,
    running: AtomicBool,
}

impl RedisBus {
    /// Creates a bus without a connection.
    ///
    /// # Errors
    /// [`Config`](BusErrorKind::Config) if the options cannot work. The message names the field.
    pub fn new(options: RedisOptions) -> Result<RedisBus, BusError> {
        let counters = Arc::new(Counters::default());
        Ok(RedisBus {
            connector: Connector::new(&options)?,
            publisher: Publisher::new(&options, counters.clone()),
            subscriber: Subscriber::new(&options, counters.clone()),
            leases: LeaseTable::new(&options),
            counters,
            running: AtomicBool::new(false),
            options,
        })
    }

    async fn work(self: Arc<Self>, sink: BusSink, stop: Stop) -> Result<(), BusError> {
        // Acquire sees the end of an earlier run, which `Ended` has stored with Release.
        if self.running.swap(true, Ordering::AcqRel) {
            return Err(BusError::new(BusErrorKind::Config, "run was called while the bus is running"));
        }
        // Created before the first await, at which the future may be dropped.
        let ended = Ended(self.clone());
        self.publisher.begin();
        let mut tasks = JoinSet::new();
        let bus = self.clone();
        tasks.spawn(async move { bus.publisher.run(&bus.connector).await });
        let bus = self.clone();
        tasks.spawn(async move { bus.subscriber.run(&bus.connector, &bus.publisher, sink).await });
        let result = tokio::select! {
            () = stop.stopped() => Ok(()),
            // Neither task returns: one that has ended has panicked.
            Some(failed) = tasks.join_next() => {
                tracing::error!(target: "pondsocket::bus", error = ?failed.err(), "a task of the bus failed");
                Err(BusError::new(BusErrorKind::Other, "a task of the bus failed"))
            }
        };
        // Both tasks have ended before the bus is marked as ended, so that a second run does not overlap with this one.
        tasks.shutdown().await;
        drop(ended);
        result
    }
}

/// A guard of [`RedisBus::work`] that marks the bus as ended, also when its future is dropped or panics.
struct Ended(Arc<RedisBus>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.publisher.end();
        self.0.subscriber.disconnected();
        self.0.running.store(false, Ordering::Release);
    }
}

impl Bus for RedisBus {
    fn run(self: Arc<Self>, sink: BusSink, stop: Stop) -> BoxFuture<'static, Result<(), BusError>> {
        Box::pin(self.work(sink, stop))
    }

    fn update_subscriptions(&self, add: &[Topic], remove: &[Topic]) {
        self.subscriber.update_subscriptions(add, remove);
    }

    fn publish(&self, batch: Vec<Publish>) -> BoxFuture<'_, Vec<Outcome>> {
        self.publisher.publish(batch)
    }

    fn leases(&self) -> Option<&dyn Leases> {
        Some(self)
    }

    fn history(&self) -> Option<&dyn HistoryStore> {
        Some(self)
    }

    fn caps(&self) -> Caps {
        let mut caps = Caps::default();
        caps.max_payload = Some(self.options.max_payload);
        caps.prefix = Some(self.options.prefix.as_str().into());
        caps.namespace = Some(self.options.namespace.as_str().into());
        caps
    }

    fn stats(&self) -> BusStats {
        let (mut stats, counters) = (BusStats::default(), &self.counters);
        let down_for = self.subscriber.down_for();
        (stats.up, stats.down_for) = (down_for.is_none(), down_for.unwrap_or_default());
        (stats.sessions, stats.failed_connects) = (counters.sessions.get(), counters.failed_connects.get());
        (stats.wanted_topics, stats.active_topics) = self.subscriber.counts();
        (stats.queued_messages, stats.queued_bytes) = self.publisher.depth();
        (stats.sent, stats.not_sent, stats.unknown) =
            (counters.sent.get(), counters.not_sent.get(), counters.unknown.get());
        (stats.received, stats.failed_probes) = (counters.received.get(), counters.failed_probes.get());
        stats.gaps = vec![(GapCause::Probe, stats.failed_probes)];
        stats
    }
}

impl Leases for RedisBus {
    fn acquire<'a>(&'a self, name: &'a str, ttl: Duration) -> BoxFuture<'a, Result<u64, BusError>> {
        Box::pin(self.leases.acquire(&self.publisher, name, ttl))
    }

    fn renew<'a>(&'a self, me: &'a NodeId, ttl: Duration) -> BoxFuture<'a, Result<Lease, BusError>> {
        Box::pin(async move {
            let lease = self.leases.renew(&self.publisher, me, ttl).await;
            if let Err(error) = &lease
                && error.kind() == BusErrorKind::ReadOnly
                && self.options.sentinel.is_some()
            {
                // This Redis was demoted, and the sentinels know the new primary. Without sentinels there is no other
                // Redis.
                self.publisher.reconnect(error.clone());
                self.subscriber.follow_failover(error.clone());
            }
            lease
        })
    }

    fn release<'a>(&'a self, me: &'a NodeId) -> BoxFuture<'a, Result<(), BusError>> {
        Box::pin(self.leases.release(&self.publisher, me))
    }
}

impl HistoryStore for RedisBus {
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Vec<Appended>> {
        self.publisher.append(batch)
    }

    fn read<'a>(
        &'a self,
        topic: &'a Topic,
        after: Option<Position>,
        most: usize,
    ) -> BoxFuture<'a, Result<StoredHistory, BusError>> {
        Box::pin(async move {
            let Question { script, keys, arguments } = self.publisher.histories.read(topic, after, most);
            history::history(self.publisher.evaluate(script, &keys, &arguments).await?)
        })
    }

    fn begin<'a>(&'a self, topic: &'a Topic, epoch: Epoch, life: Duration) -> BoxFuture<'a, Result<(), BusError>> {
        Box::pin(async move {
            let Question { script, keys, arguments } = self.publisher.histories.begin(topic, epoch, life);
            self.publisher.evaluate(script, &keys, &arguments).await
        })
    }

    fn restart<'a>(&'a self, topic: &'a Topic, epoch: Epoch, ttl: Duration) -> BoxFuture<'a, Result<(), BusError>> {
        Box::pin(async move {
            let Question { script, keys, arguments } = self.publisher.histories.restart(topic, epoch, ttl);
            self.publisher.evaluate(script, &keys, &arguments).await
        })
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<StoredRecord>, BusError>> {
        Box::pin(async move {
            let kept: Option<Vec<u8>> = self.publisher.request(&self.publisher.histories.get(key)).await?;
            kept.as_deref().map(history::record).transpose()
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        record: &'a StoredRecord,
        replaces: u64,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<bool, BusError>> {
        Box::pin(async move {
            let PutQuestion { script, key, arguments } = self.publisher.histories.put(key, record, replaces, ttl);
            self.publisher.evaluate(script, &key, &arguments).await
        })
    }
}

impl fmt::Debug for RedisBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBus").field("options", &self.options).field("stats", &self.stats()).finish()
    }
}
