//! The connection that receives messages, and the task that owns it: it connects, subscribes, applies the answers,
//! checks that messages still arrive, and connects again.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::stream::{FuturesOrdered, StreamExt};
use pondsocket::cluster::{
    BoxFuture, BusError, BusErrorKind, BusEvent, BusSession, BusSink, GapCause, Lost, Publish, Topic,
};
use redis::aio::{PubSub, PubSubStream};
use redis::{Msg, RedisError};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::backoff::{Backoff, random};
use crate::connect::Connector;
use crate::error::{bus_error, closed, timeout as too_long};
use crate::options::RedisOptions;
use crate::poll_once::poll_once;
use crate::probe::{Due, Probe};
use crate::publisher::Publisher;
use crate::stats::Counters;
use crate::subscriptions::{Change, Kind, Subscriptions};
use crate::token_bucket::TokenBucket;

/// The most names in one command. Redis executes a command as a whole, and nodes wait for their messages meanwhile.
const NAMES: usize = 512;
/// The most commands without an answer.
const UNDER_WAY: usize = 8;
/// The time for which changes of subscriptions gather, so that many topics share a command.
const GATHER: Duration = Duration::from_millis(1);
/// The most messages that are passed to the sink together.
const CHUNK: usize = 256;

pub(crate) struct Subscriber {
    /// Held for a moment only, never across an await.
    state: Mutex<SessionState>,
    changed: Notify,
    /// The reason to end the current session, set by code that cannot end it itself.
    failover: watch::Sender<Option<BusError>>,
    probe_topic: Topic,
    counters: Arc<Counters>,
    probe_interval: Duration,
}

struct SessionState {
    subscriptions: Subscriptions,
    /// The time at which the last session ended; `None` while there is a session.
    down: Option<Instant>,
}

/// A command and what Redis has answered.
type Answer = BoxFuture<'static, (Change, Result<(), Refusal>)>;

enum Refusal {
    /// Redis refuses the command.
    Refused(RedisError),
    /// The connection is lost, or does not answer in time.
    Lost(BusError),
}

impl Subscriber {
    pub(crate) fn new(options: &RedisOptions, counters: Arc<Counters>) -> Subscriber {
        let (prefix, namespace) = (&options.prefix, &options.namespace);
        let probe_topic = Topic::from(format!("{prefix}:v1:{namespace}:__probe__:{:016x}", random()));
        let mut subscriptions = Subscriptions::default();
        // The first topic, so that it is the first to be subscribed: the probe needs it.
        subscriptions.update_subscriptions(std::slice::from_ref(&probe_topic), &[]);
        Subscriber {
            state: Mutex::new(SessionState { subscriptions, down: Some(Instant::now()) }),
            changed: Notify::new(),
            failover: watch::Sender::new(None),
            probe_topic,
            counters,
            probe_interval: options.probe_interval,
        }
    }

    pub(crate) fn update_subscriptions(&self, add: &[Topic], remove: &[Topic]) {
        if self.state().subscriptions.update_subscriptions(add, remove) {
            self.changed.notify_one();
        }
    }

    /// Ends the current session, if there is one, because its Redis is no longer the primary. The next attempt to
    /// connect asks the sentinels.
    pub(crate) fn follow_failover(&self, why: BusError) {
        self.failover.send_replace(Some(why));
    }

    /// Returns the numbers of wanted and subscribed topics, without the probe's own topic.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.state();
        let (wanted, active) = state.subscriptions.counts();
        let own = usize::from(state.subscriptions.is_active(self.probe_topic.as_str()));
        (wanted - 1, active - own)
    }

    /// Returns the time for which there has been no session; `None` while there is one.
    pub(crate) fn down_for(&self) -> Option<Duration> {
        self.state().down.map(|since| since.elapsed())
    }

    /// Marks the session as ended.
    pub(crate) fn disconnected(&self) {
        let mut state = self.state();
        state.subscriptions.disconnected();
        state.down.get_or_insert_with(Instant::now);
    }

    /// Connects, subscribes and receives, for ever. `Up` is reported only while the connection for commands answers, so
    /// that a node that is up can publish.
    pub(crate) async fn run(&self, connector: &Connector, publisher: &Publisher, sink: BusSink) {
        let (mut backoff, mut bucket) = (Backoff::default(), TokenBucket::new(Instant::now()));
        let mut report = Report { sink, reported: None };
        loop {
            publisher.answering(|reason| report.down(reason)).await;
            match connector.pubsub().await {
                Ok(pubsub) => {
                    let session = BusSession(self.counters.sessions.next());
                    report.up(session);
                    let (settled, reason) = self.serve(pubsub, session, publisher, &report.sink, &mut bucket).await;
                    self.disconnected();
                    report.down(reason);
                    // A session without all of its topics is no success: nodes that fail so must not return without a
                    // pause.
                    if settled {
                        backoff.reset();
                    }
                }
                Err(reason) => {
                    self.counters.failed_connects.add(1);
                    report.down(reason);
                }
            }
            sleep(backoff.pause()).await;
        }
    }

    /// Runs one session to its end. Returns whether all wanted topics were subscribed at some time, and the reason of
    /// the end.
    async fn serve(
        &self,
        pubsub: PubSub,
        session: BusSession,
        publisher: &Publisher,
        sink: &BusSink,
        bucket: &mut TokenBucket,
    ) -> (bool, BusError) {
        {
            let mut state = self.state();
            state.subscriptions.connected();
            state.down = None;
        }
        // Subscribed now: a failover that was reported before this session does not end it.
        let mut failover = self.failover.subscribe();
        // These three are kept from one iteration to the next: to register a timer and two waiters anew for each message
        // costs a lock each.
        let mut failed_over = pin!(async move {
            // No error: the sender is a field of `self`.
            let _ = failover.changed().await;
            failover.borrow_and_update().clone()
        });
        let mut changed = pin!(self.changed.notified());
        let mut alarm = pin!(sleep_until(Instant::now()));
        let (commands, mut messages) = pubsub.split();
        let mut chunk = Vec::new();
        let mut answers: FuturesOrdered<Answer> = FuturesOrdered::new();
        let (mut probe, mut next_flush, mut settled) =
            (Probe::new(self.probe_interval, Instant::now()), Instant::now(), false);
        loop {
            let now = Instant::now();
            // Not in a branch of `select!`, where a stream of messages could delay subscriptions.
            if now >= next_flush {
                self.flush(session, sink, &commands, &mut answers, bucket).await;
                next_flush = now + GATHER;
            }
            let (has_work, all) = self.progress();
            settled |= all;
            // The probe cannot arrive before its own topic is subscribed. Until then the timeout of the commands
            // applies.
            let probing = self.state().subscriptions.is_active(self.probe_topic.as_str());
            let mut wake = if probing { probe.deadline() } else { now + self.probe_interval };
            if has_work && answers.len() < UNDER_WAY {
                wake = wake.min(if bucket.available(now) == 0 { bucket.next().max(next_flush) } else { next_flush });
            }
            // Each message makes the probe due later. The timer is set anew when it expires too early, not before.
            if wake < alarm.deadline() || alarm.is_elapsed() {
                alarm.as_mut().reset(wake);
            }
            tokio::select! {
                is_open = gather(&mut messages, &mut chunk) => {
                    if !is_open {
                        return (settled, closed("Redis has closed the connection"));
                    }
                    probe.heard(Instant::now());
                    self.deliver(&mut chunk, sink);
                }
                Some((change, answer)) = answers.next() => {
                    if let Err(reason) = self.answered(session, sink, change, answer) {
                        return (settled, reason);
                    }
                }
                () = &mut changed => changed.set(self.changed.notified()),
                reason = &mut failed_over => {
                    return (settled, reason.unwrap_or_else(|| closed("the end of the session")));
                }
                () = &mut alarm => match if probing { probe.due(Instant::now()) } else { Due::Nothing } {
                    Due::Nothing => {}
                    // The outcome is ignored, because only the arrival of the message proves that the session works.
                    Due::Send => drop(publisher.publish(vec![Publish::new(self.probe_topic.clone(), Bytes::new())])),
                    Due::Failed => {
                        self.counters.failed_probes.add(1);
                        // Ahead of `Down`: the messages of the whole silence may be lost, not only those since now.
                        sink.push(BusEvent::Gap { lost: Lost::All, cause: GapCause::Probe });
                        let reason = too_long("the probe");
                        publisher.reconnect(reason.clone());
                        return (settled, reason);
                    }
                },
            }
        }
    }

    /// Sends the commands that wait, as many as the token bucket allows.
    async fn flush(
        &self,
        session: BusSession,
        sink: &BusSink,
        commands: &redis::aio::PubSubSink,
        answers: &mut FuturesOrdered<Answer>,
        bucket: &mut TokenBucket,
    ) {
        let again = self.state().subscriptions.take_again();
        self.report_subscribed(session, sink, again);
        while answers.len() < UNDER_WAY {
            let available = bucket.available(Instant::now()).min(NAMES);
            let Some(change) = self.state().subscriptions.next(available) else { return };
            bucket.take(change.topics.len());
            answers.push_back(poll_once(ask(commands.clone(), change, self.probe_interval)).await);
        }
    }

    /// Applies an answer. `Err` ends the session.
    fn answered(
        &self,
        session: BusSession,
        sink: &BusSink,
        change: Change,
        answer: Result<(), Refusal>,
    ) -> Result<(), BusError> {
        match answer {
            Ok(()) => {
                let subscribed = self.state().subscriptions.confirmed(&change);
                self.report_subscribed(session, sink, subscribed);
            }
            Err(Refusal::Refused(error)) => {
                let denied = self.state().subscriptions.refused(change);
                if let Some(topic) = denied {
                    let error = bus_error(&error);
                    tracing::error!(target: "pondsocket::bus", %topic, %error, "not subscribed");
                }
            }
            Err(Refusal::Lost(reason)) => return Err(reason),
        }
        Ok(())
    }

    fn report_subscribed(&self, session: BusSession, sink: &BusSink, mut topics: Vec<Topic>) {
        topics.retain(|topic| *topic != self.probe_topic);
        if !topics.is_empty() {
            sink.push(BusEvent::Subscribed { session, topics });
        }
    }

    fn deliver(&self, chunk: &mut Vec<Msg>, sink: &BusSink) {
        // One lock for the chunk, and none while the sink is locked.
        let topics: Vec<_> = {
            let state = self.state();
            chunk.iter().map(|message| state.subscriptions.wanted(message.get_channel_name())).collect()
        };
        let mut received = 0;
        // Messages on topics that are no longer wanted are dropped: they were under way when the topic was removed.
        sink.push_all(chunk.drain(..).zip(topics).filter_map(|(message, topic)| {
            let topic = topic.filter(|topic| *topic != self.probe_topic)?;
            received += 1;
            Some(BusEvent::Message { topic, data: Bytes::copy_from_slice(message.get_payload_bytes()) })
        }));
        self.counters.received.add(received);
    }

    /// Returns whether commands wait to be sent, and whether all wanted topics are subscribed.
    fn progress(&self) -> (bool, bool) {
        let state = self.state();
        let (wanted, active) = state.subscriptions.counts();
        (state.subscriptions.has_work(), wanted == active)
    }

    fn state(&self) -> MutexGuard<'_, SessionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reports to the node about the connection.
struct Report {
    sink: BusSink,
    /// The last reported reason, while there is no session.
    reported: Option<BusErrorKind>,
}

impl Report {
    fn up(&mut self, session: BusSession) {
        tracing::info!(target: "pondsocket::bus", session = session.0, "the bus is connected");
        self.reported = None;
        self.sink.push(BusEvent::Up { session });
    }

    /// Reports each new reason once, since attempts to connect go on for ever.
    fn down(&mut self, reason: BusError) {
        if self.reported.replace(reason.kind()) != Some(reason.kind()) {
            tracing::warn!(target: "pondsocket::bus", error = %reason, "the bus is not connected");
            self.sink.push(BusEvent::Down { reason });
        }
    }
}

/// Waits for a message, and appends it with those that have arrived behind it. Returns `false` if the connection is
/// closed. The future may be dropped without loss, because it waits only before it has a message.
async fn gather(messages: &mut PubSubStream, chunk: &mut Vec<Msg>) -> bool {
    let Some(first) = messages.next().await else { return false };
    chunk.push(first);
    while chunk.len() < CHUNK
        && let Some(Some(message)) = messages.next().now_or_never()
    {
        chunk.push(message);
    }
    true
}

/// Sends a command, and waits until Redis has confirmed each of its names.
fn ask(mut commands: redis::aio::PubSubSink, change: Change, limit: Duration) -> Answer {
    Box::pin(async move {
        let names: Vec<_> = change.topics.iter().map(Topic::as_str).collect();
        let done = async {
            match change.kind {
                Kind::Subscribe => commands.subscribe(&names).await,
                Kind::Unsubscribe => commands.unsubscribe(&names).await,
            }
        };
        let answer = match timeout(limit, done).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.is_unrecoverable_error() => Err(Refusal::Lost(bus_error(&error))),
            Ok(Err(error)) => Err(Refusal::Refused(error)),
            // An unknown state of subscriptions would lose messages unnoticed; a new session starts from none.
            Err(_) => Err(Refusal::Lost(BusError::new(BusErrorKind::Timeout, "Redis does not confirm subscriptions"))),
        };
        drop(names);
        (change, answer)
    })
}
