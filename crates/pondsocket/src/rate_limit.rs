//! Rate limits as a layer.

use std::collections::HashMap;
use std::fmt;
use std::future::ready;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::context::{ConnectionContext, EventContext, JoinContext};
use crate::engine::closing::{Close, Closure};
use crate::engine::handle::ConnectionHandle;
use crate::engine::sync::Mutex;
use crate::error::{Error, Result};
use crate::handler::{BoxFuture, Context};
use crate::limits::address::group;
use crate::limits::bucket::{Bucket, Rate};
use crate::metrics::{CloseReason, Limit, Observer};
use crate::middleware::{Layer, Next};
use crate::pond::states::States;

/// A token bucket for each key: a burst, and a rate per second. Without a token a request is not handled: it is answered
/// with 429 and the time after which to try again.
///
/// It is a layer around connections, joins or events (see [`middleware`](crate::middleware)). Clones share their
/// buckets: one limit can stand in several places.
///
/// ```
/// # use pondsocket::{Endpoint, EventContext, Handler, Lobby, RateLimit, Result};
/// # fn register(endpoint: &Endpoint, lobby: &Lobby) {
/// endpoint.layer(RateLimit::per_ip(1.0, 20));
/// lobby.layer(RateLimit::per_user(10.0, 50).close_after(100));
/// lobby.on_event("search", search.layer(RateLimit::per_key(0.5, 5, |ctx: &EventContext| ctx.event().to_owned())));
/// # async fn search(_: EventContext) {}
/// # }
/// ```
pub struct RateLimit<K = Subject> {
    key: K,
    table: Arc<Table>,
    close_after: Option<u32>,
}

/// The keys that every context knows.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Subject {
    /// Each user's. Around connections, where no user is known yet, each address's.
    User,
    /// Each connection's. Around connections, where each is a new one, each address's.
    Connection,
    /// Each address's, an IPv6 network of 64 bits counting as one. All whose address is not known share a bucket.
    Ip,
}

impl RateLimit {
    /// `burst` at once and `per_second` on, for each user.
    ///
    /// # Panics
    /// If `per_second` is not a positive number, or `burst` is 0.
    pub fn per_user(per_second: f64, burst: u32) -> RateLimit {
        RateLimit::new(per_second, burst, Subject::User)
    }

    /// The same for each connection.
    ///
    /// # Panics
    /// As [`per_user`](Self::per_user).
    pub fn per_connection(per_second: f64, burst: u32) -> RateLimit {
        RateLimit::new(per_second, burst, Subject::Connection)
    }

    /// The same for each address (see [`ConnectionContext::client_ip`]).
    ///
    /// # Panics
    /// As [`per_user`](Self::per_user).
    pub fn per_ip(per_second: f64, burst: u32) -> RateLimit {
        RateLimit::new(per_second, burst, Subject::Ip)
    }

    /// The same for each key that `key` makes of a context.
    ///
    /// # Panics
    /// As [`per_user`](Self::per_user).
    pub fn per_key<C, F>(per_second: f64, burst: u32, key: F) -> RateLimit<F>
    where
        C: Limited,
        F: Fn(&C) -> String + Send + Sync + 'static,
    {
        RateLimit::new(per_second, burst, key)
    }
}

impl<K> RateLimit<K> {
    fn new(per_second: f64, burst: u32, key: K) -> RateLimit<K> {
        assert!(per_second > 0.0 && per_second.is_finite(), "a rate is a positive number, not {per_second}");
        assert!(burst > 0, "a burst is at least 1");
        let rate = Rate { per_second, burst: f64::from(burst) };
        RateLimit { key, table: Arc::new(Table::new(rate, MAX_KEYS)), close_after: None }
    }

    /// Closes a connection with 1008 after this many refusals in a row.
    ///
    /// # Panics
    /// If `refusals` is 0.
    #[must_use]
    pub fn close_after(self, refusals: u32) -> Self {
        assert!(refusals > 0, "nobody is closed before the first refusal");
        RateLimit { close_after: Some(refusals), ..self }
    }

    /// The most keys that are remembered. Default 100,000, which takes about 10 MB. Keys whose bucket is full are forgotten
    /// first. If all others have used tokens, further keys share one bucket: a flood of made-up keys limits itself, and no
    /// known key.
    ///
    /// # Panics
    /// If `keys` is 0, or clones share the buckets already.
    #[must_use]
    pub fn max_keys(mut self, keys: usize) -> Self {
        assert!(keys > 0, "at least one key must be remembered");
        let table = Arc::get_mut(&mut self.table).expect("the buckets are not shared yet");
        table.shards.iter_mut().for_each(|shard| *shard = Mutex::default());
        table.most = keys.div_ceil(SHARDS);
        self
    }

    /// Gives a key all of its burst again: what [`per_key`](RateLimit::per_key) made, a user id, a connection id, or
    /// an address.
    pub fn reset(&self, key: &str) {
        self.table.forget(key);
        // An address has its bucket under the name of its network.
        if let Ok(address) = key.parse() {
            self.table.forget(&address_key(Some(address)));
        }
    }

    fn check<C: Limited>(&self, key: &str, ctx: &C) -> Result<()> {
        let Err(refusal) = self.table.take(key, Instant::now()) else { return Ok(()) };
        tracing::debug!(target: "pondsocket::limit", limit = %Limit::RateLimit, key, refusals = refusal.in_a_row, "limit reached");
        ctx.count_refusal();
        if self.close_after.is_some_and(|most| refusal.in_a_row >= most) {
            ctx.close();
        }
        Err(Error::too_many_requests("rate limit exceeded").with_retry_after(refusal.after))
    }
}

impl<K: Clone> Clone for RateLimit<K> {
    fn clone(&self) -> Self {
        RateLimit { key: self.key.clone(), table: Arc::clone(&self.table), close_after: self.close_after }
    }
}

impl<K> fmt::Debug for RateLimit<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit").field("rate", &self.table.rate).finish_non_exhaustive()
    }
}

/// The contexts that can be limited: those of clients that ask for something.
pub trait Limited: Context {
    #[doc(hidden)]
    fn key(&self, subject: Subject) -> String;
    /// It was refused.
    #[doc(hidden)]
    fn count_refusal(&self);
    /// It was refused too often.
    #[doc(hidden)]
    fn close(&self);
}

impl Limited for ConnectionContext {
    fn key(&self, _: Subject) -> String {
        address_key(self.client)
    }

    fn count_refusal(&self) {
        count(&self.observer);
    }

    /// There is nothing to close yet.
    fn close(&self) {}
}

impl Limited for JoinContext {
    fn key(&self, subject: Subject) -> String {
        key_of(&self.handle, subject)
    }

    fn count_refusal(&self) {
        count(&self.endpoint.observer);
    }

    fn close(&self) {
        close(&self.handle);
    }
}

impl Limited for EventContext {
    fn key(&self, subject: Subject) -> String {
        key_of(&self.call.handle, subject)
    }

    fn count_refusal(&self) {
        count(&self.call.endpoint.observer);
    }

    fn close(&self) {
        close(&self.call.handle);
    }
}

fn count(observer: &Observer) {
    observer.count(|metrics, endpoint| metrics.limit_reached(endpoint, Limit::RateLimit));
}

fn close(handle: &ConnectionHandle) {
    let closure = Closure { code: 1008, text: "rate limit exceeded".into(), reason: CloseReason::RateLimit };
    handle.close(Close::Graceful(closure));
}

fn key_of(handle: &ConnectionHandle, subject: Subject) -> String {
    match subject {
        Subject::User => handle.user().to_string(),
        Subject::Connection => handle.id().to_string(),
        Subject::Ip => address_key(handle.identity.ip),
    }
}

fn address_key(address: Option<IpAddr>) -> String {
    address.map_or_else(String::new, |address| group(address).to_string())
}

/// Tells a limit by subject from one by key.
#[doc(hidden)]
#[derive(Debug)]
pub struct BySubject;

/// See [`BySubject`].
#[doc(hidden)]
#[derive(Debug)]
pub struct ByKey;

#[diagnostic::do_not_recommend]
impl<C: Limited> Layer<C, BySubject> for RateLimit<Subject> {
    fn prepare(_: &States) {}

    fn call(&self, ctx: C, next: Next<C>) -> BoxFuture<Result<C::Answer>> {
        let key = ctx.key(self.key);
        limit(self.check(&key, &ctx), ctx, next)
    }
}

#[diagnostic::do_not_recommend]
impl<C: Limited, F: Fn(&C) -> String + Send + Sync + 'static> Layer<C, ByKey> for RateLimit<F> {
    fn prepare(_: &States) {}

    fn call(&self, ctx: C, next: Next<C>) -> BoxFuture<Result<C::Answer>> {
        let key = (self.key)(&ctx);
        limit(self.check(&key, &ctx), ctx, next)
    }
}

fn limit<C: Context>(verdict: Result<()>, ctx: C, next: Next<C>) -> BoxFuture<Result<C::Answer>> {
    match verdict {
        Ok(()) => Box::pin(next.run(ctx)),
        Err(error) => Box::pin(ready(Err(error))),
    }
}

const SHARDS: usize = 16;
const MAX_KEYS: usize = 100_000;

/// The buckets of all keys, of a bounded number.
struct Table {
    rate: Rate,
    /// Keys in one shard, at the most.
    most: usize,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    entries: HashMap<Box<str>, Entry>,
    /// The bucket of all keys for which there is no room.
    crowd: Option<Entry>,
    /// The earliest time of the next sweep.
    worth_sweeping: Option<Instant>,
}

struct Entry {
    bucket: Bucket,
    refused: u32,
}

/// There is no token left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Refusal {
    after: Duration,
    /// The number of refusals in a row.
    in_a_row: u32,
}

impl Table {
    fn new(rate: Rate, most: usize) -> Table {
        let shards = std::array::from_fn(|_| Mutex::default());
        Table { rate, most: most.div_ceil(SHARDS), hasher: RandomState::new(), shards }
    }

    fn take(&self, key: &str, now: Instant) -> Result<(), Refusal> {
        self.shard(key).lock().entry(key, self.rate, self.most, now).take(self.rate, now)
    }

    fn forget(&self, key: &str) {
        self.shard(key).lock().entries.remove(key);
    }

    fn shard(&self, key: &str) -> &Mutex<Shard> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }
}

impl Shard {
    fn entry(&mut self, key: &str, rate: Rate, most: usize, now: Instant) -> &mut Entry {
        let fresh = || Entry { bucket: Bucket::full(rate, now), refused: 0 };
        if !self.entries.contains_key(key) {
            if self.entries.len() >= most {
                self.sweep(rate, now);
            }
            if self.entries.len() >= most {
                return self.crowd.get_or_insert_with(fresh);
            }
        }
        self.entries.entry(key.into()).or_insert_with(fresh)
    }

    /// Forgets keys whose bucket is full: a new one would be, too. It is not tried again before the time that a
    /// bucket takes to fill by one, so that a flood of keys does not cost a sweep for each.
    fn sweep(&mut self, rate: Rate, now: Instant) {
        if self.worth_sweeping.is_some_and(|at| now < at) {
            return;
        }
        self.entries.retain(|_, entry| !entry.bucket.is_full(rate, now));
        self.worth_sweeping = Some(now + Duration::from_secs_f64(1.0 / rate.per_second));
    }
}

impl Entry {
    fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Refusal> {
        match self.bucket.take(rate, 1.0, now) {
            Ok(()) => {
                self.refused = 0;
                Ok(())
            }
            Err(after) => {
                self.refused = self.refused.saturating_add(1);
                Err(Refusal { after, in_a_row: self.refused })
            }
        }
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 1.0, burst: 2.0 };

    #[test]
    fn each_key_has_its_own_bucket() {
        let (table, now) = (Table::new(RATE, 100), Instant::now());
        assert!(table.take("ada", now).is_ok() && table.take("ada", now).is_ok());
        assert_eq!(table.take("ada", now), Err(Refusal { after: Duration::from_secs(1), in_a_row: 1 }));
        assert_eq!(table.take("ada", now), Err(Refusal { after: Duration::from_secs(1), in_a_row: 2 }));
        assert!(table.take("bob", now).is_ok());
        table.forget("ada");
        assert!(table.take("ada", now).is_ok());
    }

    #[test]
    fn a_flood_of_keys_is_bounded_and_limits_itself_but_nobody_known() {
        let (table, start) = (Table::new(RATE, 160), Instant::now());
        table.take("ada", start).expect("her first");
        let refused = (0..10_000).filter(|n| table.take(&format!("made-up {n}"), start).is_err()).count();
        let known = |table: &Table| table.shards.iter().map(|shard| shard.lock().entries.len()).sum::<usize>();
        assert_eq!(known(&table), 160);
        assert!(refused > 9_700, "{refused} refused");
        assert!(table.take("ada", start).is_ok(), "her second of two");
        // Later there is nothing to remember of those who did no more than once.
        let later = start + Duration::from_secs(10);
        assert!((0..40).all(|n| table.take(&format!("another {n}"), later).is_ok()));
        assert!(known(&table) <= 160);
    }
}
