//! Rate limits, as a layer.

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

/// A token bucket for each key, with a burst and a rate per second. A request without a token is not handled, but answered with
/// 429 and the time after which it can be repeated.
///
/// It is a layer around connections, joins or events (see [`middleware`](crate::middleware)). Clones share their buckets, so
/// that one limit can apply in several places.
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
    table: Arc<BucketTable>,
    close_after: Option<u32>,
}

/// The keys that every context has.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Subject {
    /// The user's id. Around connections, where the user is not known yet, the address.
    User,
    /// The connection's id. Around connections, where each has a new one, the address.
    Connection,
    /// The client's address; of IPv6 the network of 64 bits. Clients without a known address share one bucket.
    Ip,
}

impl RateLimit {
    /// Allows each user `burst` requests at once, and `per_second` on average.
    ///
    /// # Panics
    /// If `per_second` is not a positive number, or `burst` is 0.
    pub fn per_user(per_second: f64, burst: u32) -> RateLimit {
        RateLimit::new(per_second, burst, Subject::User)
    }

    /// Limits each connection as [`per_user`](Self::per_user) limits each user.
    ///
    /// # Panics
    /// As [`per_user`](Self::per_user).
    pub fn per_connection(per_second: f64, burst: u32) -> RateLimit {
        RateLimit::new(per_second, burst, Subject::Connection)
    }

    /// Limits each address (see [`ConnectionContext::client_ip`]) as [`per_user`](Self::per_user) limits each user.
    ///
    /// # Panics
    /// As [`per_user`](Self::per_user).
    pub fn per_ip(per_second: f64, burst: u32) -> RateLimit {
        RateLimit::new(per_second, burst, Subject::Ip)
    }

    /// Limits each key that `key` returns for a context, as [`per_user`](Self::per_user) limits each user.
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
        assert!(per_second > 0.0 && per_second.is_finite(), "a rate must be a positive number, not {per_second}");
        assert!(burst > 0, "a burst must be at least 1");
        let rate = Rate { per_second, burst: f64::from(burst) };
        RateLimit { key, table: Arc::new(BucketTable::new(rate, MAX_KEYS)), close_after: None }
    }

    /// Closes a connection with 1008 after this many refused requests in a row. Default never. Around connections it has no
    /// effect.
    ///
    /// # Panics
    /// If `refusals` is 0.
    #[must_use]
    pub fn close_after(self, refusals: u32) -> Self {
        assert!(refusals > 0, "the number of refusals must be at least 1");
        RateLimit { close_after: Some(refusals), ..self }
    }

    /// Sets the most keys that have buckets of their own. Default 100,000, which takes about 10 MB. At the limit keys whose bucket
    /// is full are removed; if there are none, further keys share one bucket. So a flood of invented keys limits itself, and not
    /// the keys that are known.
    ///
    /// # Panics
    /// If `keys` is 0, or if there is a clone, which shares the buckets.
    #[must_use]
    pub fn max_keys(mut self, keys: usize) -> Self {
        assert!(keys > 0, "the number of keys must be at least 1");
        let table = Arc::get_mut(&mut self.table).expect("max_keys must be set before the limit is cloned");
        // No clone exists, so no request can have filled a bucket that would be lost here.
        table.shards.iter_mut().for_each(|shard| *shard = Mutex::default());
        table.max_keys_per_shard = keys.div_ceil(SHARDS);
        self
    }

    /// Refills the bucket of a key: the text that [`per_key`](RateLimit::per_key)'s function returned, a user id, a connection
    /// id, or an address.
    pub fn reset(&self, key: &str) {
        self.table.remove(key);
        // The bucket of an IPv6 address belongs to its network.
        if let Ok(address) = key.parse() {
            self.table.remove(&address_key(Some(address)));
        }
    }

    fn check<C: Limited>(&self, key: &str, ctx: &C) -> Result<()> {
        let Err(exceeded) = self.table.take(key, Instant::now()) else { return Ok(()) };
        tracing::debug!(target: "pondsocket::limit", limit = %Limit::RateLimit, key, refusals = exceeded.refusals_in_a_row, "limit reached");
        // After the lock of the shard is released: metrics run code of the application.
        ctx.count_refusal();
        if self.close_after.is_some_and(|most| exceeded.refusals_in_a_row >= most) {
            ctx.close();
        }
        Err(Error::too_many_requests("rate limit exceeded").with_retry_after(exceeded.retry_after))
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

/// The contexts of requests, to which a rate limit can apply.
pub trait Limited: Context {
    #[doc(hidden)]
    fn key(&self, subject: Subject) -> String;
    /// Counts a refused request.
    #[doc(hidden)]
    fn count_refusal(&self);
    /// Closes the connection, after too many refused requests.
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

    /// Does nothing: there is no connection yet.
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
    // Graceful: messages that were sent before still reach the client.
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

/// The marker of a limit by subject: it keeps the two implementations of [`Layer`] from overlapping.
#[doc(hidden)]
#[derive(Debug)]
pub struct BySubject;

/// The marker of a limit by a function's key: see [`BySubject`].
#[doc(hidden)]
#[derive(Debug)]
pub struct ByKey;

#[diagnostic::do_not_recommend]
impl<C: Limited> Layer<C, BySubject> for RateLimit<Subject> {
    fn prepare(_: &States) {}

    fn call(&self, ctx: C, next: Next<C>) -> BoxFuture<'static, Result<C::Answer>> {
        let key = ctx.key(self.key);
        limit(self.check(&key, &ctx), ctx, next)
    }
}

#[diagnostic::do_not_recommend]
impl<C: Limited, F: Fn(&C) -> String + Send + Sync + 'static> Layer<C, ByKey> for RateLimit<F> {
    fn prepare(_: &States) {}

    fn call(&self, ctx: C, next: Next<C>) -> BoxFuture<'static, Result<C::Answer>> {
        let key = (self.key)(&ctx);
        limit(self.check(&key, &ctx), ctx, next)
    }
}

fn limit<C: Context>(checked: Result<()>, ctx: C, next: Next<C>) -> BoxFuture<'static, Result<C::Answer>> {
    match checked {
        Ok(()) => Box::pin(next.run(ctx)),
        Err(error) => Box::pin(ready(Err(error))),
    }
}

/// The number of shards, each behind a lock of its own: requests of different keys seldom wait for each other.
const SHARDS: usize = 16;

const MAX_KEYS: usize = 100_000;

/// The buckets of a bounded number of keys.
struct BucketTable {
    rate: Rate,
    max_keys_per_shard: usize,
    hasher: RandomState,
    shards: [Mutex<BucketShard>; SHARDS],
}

#[derive(Default)]
struct BucketShard {
    buckets: HashMap<Box<str>, KeyBucket>,
    /// The bucket that all keys share for which there is no room.
    shared: Option<KeyBucket>,
    next_sweep: Option<Instant>,
}

struct KeyBucket {
    tokens: Bucket,
    refusals_in_a_row: u32,
}

/// A request without a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct RateExceeded {
    retry_after: Duration,
    /// The number of refused requests of the key since the last allowed one.
    refusals_in_a_row: u32,
}

impl BucketTable {
    fn new(rate: Rate, max_keys: usize) -> BucketTable {
        let shards = std::array::from_fn(|_| Mutex::default());
        BucketTable { rate, max_keys_per_shard: max_keys.div_ceil(SHARDS), hasher: RandomState::new(), shards }
    }

    fn take(&self, key: &str, now: Instant) -> Result<(), RateExceeded> {
        self.shard(key).lock().bucket(key, self.rate, self.max_keys_per_shard, now).take(self.rate, now)
    }

    fn remove(&self, key: &str) {
        self.shard(key).lock().buckets.remove(key);
    }

    fn shard(&self, key: &str) -> &Mutex<BucketShard> {
        // A hash with a random key: clients that choose their keys cannot put all of them into one shard.
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }
}

impl BucketShard {
    fn bucket(&mut self, key: &str, rate: Rate, max_keys: usize, now: Instant) -> &mut KeyBucket {
        let fresh = || KeyBucket { tokens: Bucket::full(rate, now), refusals_in_a_row: 0 };
        if !self.buckets.contains_key(key) {
            if self.buckets.len() >= max_keys {
                self.sweep(rate, now);
            }
            // No known key is evicted instead: it would get a full bucket when it returns.
            if self.buckets.len() >= max_keys {
                return self.shared.get_or_insert_with(fresh);
            }
        }
        self.buckets.entry(key.into()).or_insert_with(fresh)
    }

    /// Removes keys whose bucket is full: a new bucket would be full, too. It is not repeated before a bucket gains a token, since
    /// until then no further bucket is full, and a flood of keys would cost a sweep for each.
    fn sweep(&mut self, rate: Rate, now: Instant) {
        if self.next_sweep.is_some_and(|at| now < at) {
            return;
        }
        self.buckets.retain(|_, bucket| !bucket.tokens.is_full(rate, now));
        self.next_sweep = Some(now + Duration::from_secs_f64(1.0 / rate.per_second));
    }
}

impl KeyBucket {
    fn take(&mut self, rate: Rate, now: Instant) -> Result<(), RateExceeded> {
        match self.tokens.take(rate, 1.0, now) {
            Ok(()) => {
                self.refusals_in_a_row = 0;
                Ok(())
            }
            Err(retry_after) => {
                // Saturating: without `close_after` nothing limits the number.
                self.refusals_in_a_row = self.refusals_in_a_row.saturating_add(1);
                Err(RateExceeded { retry_after, refusals_in_a_row: self.refusals_in_a_row })
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
        let (table, now) = (BucketTable::new(RATE, 100), Instant::now());
        assert!(table.take("ada", now).is_ok() && table.take("ada", now).is_ok());
        assert_eq!(
            table.take("ada", now),
            Err(RateExceeded { retry_after: Duration::from_secs(1), refusals_in_a_row: 1 })
        );
        assert_eq!(
            table.take("ada", now),
            Err(RateExceeded { retry_after: Duration::from_secs(1), refusals_in_a_row: 2 })
        );
        assert!(table.take("bob", now).is_ok());
        table.remove("ada");
        assert!(table.take("ada", now).is_ok());
    }

    #[test]
    fn a_flood_of_keys_is_bounded_and_does_not_limit_known_keys() {
        let (table, start) = (BucketTable::new(RATE, 160), Instant::now());
        table.take("ada", start).expect("the first of two");
        let refused = (0..10_000).filter(|n| table.take(&format!("invented {n}"), start).is_err()).count();
        let known = |table: &BucketTable| table.shards.iter().map(|shard| shard.lock().buckets.len()).sum::<usize>();
        assert_eq!(known(&table), 160);
        assert!(refused > 9_700, "{refused} refused");
        assert!(table.take("ada", start).is_ok(), "the second of two");
        // By then all buckets are full again, and are removed for new keys.
        let later = start + Duration::from_secs(10);
        assert!((0..40).all(|n| table.take(&format!("another {n}"), later).is_ok()));
        assert!(known(&table) <= 160);
    }
}
