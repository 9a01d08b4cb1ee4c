//! The connection for commands: it publishes and appends messages in batches, in their order. The table of leases and the
//! store of histories use it for their questions, too.

use std::collections::VecDeque;
use std::future::ready;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{FuturesOrdered, StreamExt};
use pondsocket::cluster::{Append, Appended, BoxFuture, BusError, BusErrorKind, Outcome, Position, Publish};
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, RedisResult, Value, cmd, from_redis_value};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::backoff::Backoff;
use crate::connect::Connector;
use crate::error::{bus_error, closed, timeout as too_long};
use crate::functions;
use crate::history::Histories;
use crate::options::RedisOptions;
use crate::poll_once::poll_once;
use crate::queue::{Fate, Item, Message, Queue, Tally};
use crate::script::KnownScript;
use crate::stats::Counters;

/// The most writes that wait for answers. While one waits, a further one goes out only with a full batch: while Redis
/// answers quickly, larger batches cost less than many small writes.
const UNDER_WAY: usize = 8;

pub(crate) struct Publisher {
    /// Held for a moment only, never across an await.
    queue: Mutex<Queue>,
    filled: Notify,
    link: watch::Sender<LinkState>,
    /// The number of attempts to connect, and so of the last connection.
    connections: AtomicU64,
    /// The number of a connection that was found to be dead, and the reason.
    broken: watch::Sender<(u64, BusError)>,
    /// The time of the first command since the last answer; `None` if no command is unanswered.
    asked: Mutex<Option<Instant>>,
    pub(crate) histories: Histories,
    /// `true` if the script that appends was sent as a whole on this connection. Written and read by the task that writes,
    /// hence Relaxed.
    appends_by_hash: AtomicBool,
    counters: Arc<Counters>,
    command_timeout: Duration,
    probe_interval: Duration,
    loads_functions: bool,
}

/// The state of the connection, as its users see it.
#[derive(Clone)]
enum LinkState {
    /// The bus does not run.
    None,
    Down(BusError),
    Up(Connection),
}

/// A connection and its number. A report that a connection is dead names the number, so that a late report does not end
/// its successor.
#[derive(Clone)]
pub(crate) struct Connection {
    redis: MultiplexedConnection,
    number: u64,
}

/// The answers to a write, in the order of its items.
type Write = BoxFuture<'static, (Vec<Item>, Result<Vec<RedisResult<Value>>, Failure>)>;

/// The reason for which a batch has no answers.
enum Failure {
    /// The answers did not arrive in time. If they arrive later they are discarded.
    Late,
    Broken(BusError),
}

impl Publisher {
    pub(crate) fn new(options: &RedisOptions, counters: Arc<Counters>) -> Publisher {
        Publisher {
            queue: Mutex::new(Queue::new(options, idle())),
            filled: Notify::new(),
            link: watch::Sender::new(LinkState::None),
            connections: AtomicU64::new(0),
            broken: watch::Sender::new((0, idle())),
            asked: Mutex::new(None),
            histories: Histories::new(options),
            appends_by_hash: AtomicBool::new(false),
            counters,
            command_timeout: options.command_timeout,
            probe_interval: options.probe_interval,
            loads_functions: options.functions,
        }
    }

    /// Queues messages to be published, in the order of the calls.
    pub(crate) fn publish(&self, batch: Vec<Publish>) -> BoxFuture<'static, Vec<Outcome>> {
        self.send(batch.into_iter().map(Message::Publish).collect())
    }

    /// Queues messages to be appended, in the same order.
    pub(crate) fn append(&self, batch: Vec<Append>) -> BoxFuture<'static, Vec<Appended>> {
        self.send(batch.into_iter().map(|append| Message::Append(Box::new(append))).collect())
    }

    fn send<T: From<Fate> + Send + 'static>(&self, batch: Vec<Message>) -> BoxFuture<'static, Vec<T>> {
        let count = batch.len();
        let taken = self.queue().push(batch, Instant::now());
        let convert = |outcomes: Vec<Fate>| outcomes.into_iter().map(T::from).collect();
        match taken {
            Ok(answer) => {
                self.filled.notify_one();
                Box::pin(async move {
                    let unknown = || vec![Fate::Unknown(closed("the bus has ended")); count];
                    convert(answer.await.unwrap_or_else(|_| unknown()))
                })
            }
            Err(outcomes) => {
                self.counters.not_sent.add(count);
                Box::pin(ready(convert(outcomes)))
            }
        }
    }

    /// The numbers of messages and bytes without an outcome.
    pub(crate) fn depth(&self) -> (usize, usize) {
        self.queue().depth()
    }

    /// Connects and writes, for ever.
    pub(crate) async fn run(&self, connector: &Connector) {
        let mut backoff = Backoff::default();
        loop {
            // Relaxed: one task runs at a time. No number is used twice, also if the bus is run again.
            let number = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
            let why = match connector.commands().await {
                Ok(redis) => {
                    tracing::debug!(target: "pondsocket::bus", "connected for commands");
                    let began = Instant::now();
                    if self.loads_functions {
                        self.load_functions(redis.clone()).await;
                    }
                    let why = self.serve(Connection { redis, number }).await;
                    tracing::warn!(target: "pondsocket::bus", error = %why, "the connection for commands is lost");
                    backoff.lasted(began.elapsed());
                    why
                }
                Err(why) => {
                    self.counters.failed_connects.add(1);
                    tracing::debug!(target: "pondsocket::bus", error = %why, "cannot connect for commands");
                    why
                }
            };
            self.close(&why);
            sleep(backoff.pause()).await;
        }
    }

    /// Loads the functions for publishers. Without them the bus works all the same.
    async fn load_functions(&self, mut redis: MultiplexedConnection) {
        let loaded = match timeout(self.command_timeout, functions::load(&mut redis)).await {
            Ok(loaded) => loaded.map_err(|error| bus_error(&error)),
            Err(_) => Err(too_long("loading functions")),
        };
        if let Err(error) = loaded {
            tracing::warn!(target: "pondsocket::bus", %error, "cannot load the functions for publishers");
        }
    }

    /// Fails what is queued, and refuses messages until there is a connection.
    fn close(&self, why: &BusError) {
        let tally = self.queue().close(why);
        self.count(&tally);
        self.link.send_replace(LinkState::Down(why.clone()));
    }

    /// Marks the bus as running. Called before [`run`](Self::run).
    pub(crate) fn begin(&self) {
        self.queue().begin();
    }

    /// Marks the bus as ended.
    pub(crate) fn end(&self) {
        let tally = self.queue().end(&idle());
        self.count(&tally);
        self.link.send_replace(LinkState::None);
    }

    /// The connection, if there is one.
    pub(crate) fn connection(&self) -> Result<Connection, BusError> {
        match &*self.link.borrow() {
            LinkState::Up(connection) => Ok(connection.clone()),
            LinkState::Down(why) => Err(why.clone()),
            LinkState::None => Err(idle()),
        }
    }

    /// Waits for a connection that answers. `tell` is called with the reason each time that there is none.
    pub(crate) async fn answering(&self, mut tell: impl FnMut(BusError)) {
        let mut link = self.link.subscribe();
        loop {
            let now = link.borrow_and_update().clone();
            match now {
                LinkState::Up(connection) => {
                    match self.ask::<()>(&connection, &cmd("PING")).await {
                        Ok(()) => return,
                        // A connection that does not answer may be dead, so a new one is made; `changed` waits for it.
                        Err(error) => self.report(&connection, bus_error(&error)),
                    }
                }
                LinkState::Down(why) => tell(why),
                LinkState::None => {}
            }
            if link.changed().await.is_err() {
                // Impossible: the sender is a field of `self`.
                return;
            }
        }
    }

    /// Sends a command and waits for its answer, for `command_timeout` at most.
    pub(crate) async fn ask<T: redis::FromRedisValue>(
        &self,
        connection: &Connection,
        command: &redis::Cmd,
    ) -> Result<T, redis::RedisError> {
        let mut redis = connection.redis.clone();
        self.asked();
        let answer = timeout(self.command_timeout, command.query_async(&mut redis)).await;
        let late = || redis::RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        let answer: RedisResult<T> = answer.unwrap_or_else(|_| Err(late()));
        match &answer {
            // One late answer is no reason to end the connection: see `is_silent`.
            Err(error) if error.is_timeout() => {
                if self.is_silent() {
                    self.report(connection, too_long("any answer"));
                }
            }
            Err(error) if error.is_unrecoverable_error() => self.report(connection, bus_error(error)),
            // An error that Redis has sent is an answer, too.
            _ => self.heard(),
        }
        answer
    }

    /// Executes a command on the connection, if there is one.
    pub(crate) async fn request<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, BusError> {
        self.ask(&self.connection()?, command).await.map_err(|error| bus_error(&error))
    }

    /// Runs a script: by its hash, or as a whole if Redis does not know it.
    pub(crate) async fn evaluate<T: FromRedisValue>(
        &self,
        script: &KnownScript,
        keys: &[String],
        arguments: &[impl redis::ToRedisArgs],
    ) -> Result<T, BusError> {
        let connection = self.connection()?;
        let mut whole = false;
        loop {
            let mut command = script.command(whole, keys);
            command.arg(arguments);
            match self.ask(&connection, &command).await {
                Err(error) if !whole && error.code() == Some("NOSCRIPT") => whole = true,
                answer => return answer.map_err(|error| bus_error(&error)),
            }
        }
    }

    /// Reports this connection as dead, so that it is made again.
    fn report(&self, connection: &Connection, why: BusError) {
        self.broken.send_replace((connection.number, why));
    }

    /// Ends the present connection, if there is one, so that a new one is made.
    pub(crate) fn reconnect(&self, why: BusError) {
        if let Ok(connection) = self.connection() {
            self.report(&connection, why);
        }
    }

    /// Writes until the connection is lost. Returns the reason.
    async fn serve(&self, connection: Connection) -> BusError {
        let (number, mut broken) = (connection.number, self.broken.subscribe());
        // Commands without an answer on the connection before do not count for this one.
        self.heard();
        self.appends_by_hash.store(false, Ordering::Relaxed);
        self.queue().open();
        self.link.send_replace(LinkState::Up(connection.clone()));
        let mut writes: FuturesOrdered<Write> = FuturesOrdered::new();
        // Kept from one iteration to the next: to register a waiter anew for each batch costs a lock.
        let mut filled = pin!(self.filled.notified());
        let mut failed = pin!(async {
            let found = broken.wait_for(|(broken, _)| *broken == number).await;
            // No error: the sender is a field of `self`.
            found.map_or_else(|_| idle(), |found| found.1.clone())
        });
        loop {
            self.fill(&connection, &mut writes).await;
            tokio::select! {
                Some((items, answers)) = writes.next() => match answers {
                    Ok(answers) => {
                        self.heard();
                        self.complete(items, answers.into());
                    }
                    Err(Failure::Late) if self.is_silent() => return too_long("any answer"),
                    Err(Failure::Late) => {
                        let late = items.into_iter().map(|item| outcome(item, |_| Fate::Unknown(too_long("the answer"))));
                        let tally = self.queue().complete(late);
                        self.count(&tally);
                    }
                    Err(Failure::Broken(why)) => return why,
                },
                () = &mut filled => filled.set(self.filled.notified()),
                why = &mut failed => return why,
            }
        }
    }

    /// Starts writes for the messages that wait.
    async fn fill(&self, connection: &Connection, writes: &mut FuturesOrdered<Write>) {
        while writes.len() < UNDER_WAY {
            // The lock is released before the write starts: publishers wait for it.
            let items = {
                let mut queue = self.queue();
                if !writes.is_empty() && !queue.has_full_batch() {
                    return;
                }
                queue.take(Instant::now())
            };
            if items.is_empty() {
                return;
            }
            self.asked();
            // Polled here, so that the connection gets the writes in this order.
            writes.push_back(poll_once(self.write(connection, items)).await);
        }
    }

    fn write(&self, connection: &Connection, items: Vec<Item>) -> Write {
        let (mut redis, limit) = (connection.redis.clone(), self.command_timeout);
        let mut commands = redis::Pipeline::with_capacity(items.len());
        for item in &items {
            match item {
                Item::Send(Message::Publish(publish)) => {
                    // With the room that it takes: a command that grows is copied each time.
                    let (topic, data) = (publish.topic.as_str(), &publish.data[..]);
                    let mut command = redis::Cmd::with_capacity(3, "PUBLISH".len() + topic.len() + data.len());
                    command.arg("PUBLISH").arg(topic).arg(data);
                    commands.add_command(command);
                }
                Item::Send(Message::Append(append)) => {
                    // The first one on a connection brings the script, which Redis then knows for all behind it.
                    let whole = !self.appends_by_hash.swap(true, Ordering::Relaxed);
                    commands.add_command(self.histories.append(append, connection.number, whole));
                }
                Item::Refuse(_) => {}
            }
        }
        // The error of one command, such as a denied topic, is the outcome of that message alone.
        commands.ignore_errors();
        Box::pin(async move {
            if commands.is_empty() {
                return (items, Ok(Vec::new()));
            }
            let answers = match timeout(limit, commands.query_async(&mut redis)).await {
                Ok(Ok(answers)) => Ok(answers),
                Ok(Err(error)) => Err(Failure::Broken(bus_error(&error))),
                Err(_) => Err(Failure::Late),
            };
            (items, answers)
        })
    }

    fn complete(&self, items: Vec<Item>, mut answers: VecDeque<RedisResult<Value>>) {
        let mut answer = |message| match (message, answers.pop_front()) {
            (_, Some(Err(error))) => {
                if error.code() == Some("NOSCRIPT") {
                    // Not sent again: messages behind it may have been appended already.
                    self.appends_by_hash.store(false, Ordering::Relaxed);
                }
                Fate::NotSent(bus_error(&error))
            }
            (Message::Publish(_), Some(Ok(receivers))) => match from_redis_value(receivers) {
                Ok(receivers) => Fate::Sent { receivers },
                Err(error) => Fate::NotSent(BusError::new(BusErrorKind::Other, error.to_string())),
            },
            (Message::Append(_), Some(Ok(position))) => match position_of(position) {
                Some(position) => Fate::At(position),
                None => Fate::Unknown(BusError::new(BusErrorKind::Other, "the answer is no position")),
            },
            (_, None) => Fate::Unknown(closed("there is no answer")),
        };
        let outcomes: Vec<_> = items.into_iter().map(|item| outcome(item, &mut answer)).collect();
        if let Some(Fate::NotSent(why)) = outcomes.iter().find(|outcome| matches!(outcome, Fate::NotSent(_))) {
            tracing::debug!(target: "pondsocket::bus", error = %why, "not published");
        }
        let tally = self.queue().complete(outcomes);
        self.count(&tally);
    }

    fn count(&self, tally: &Tally) {
        self.counters.sent.add(tally.sent);
        self.counters.not_sent.add(tally.not_sent);
        self.counters.unknown.add(tally.unknown);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a command was sent.
    fn asked(&self) {
        self.silence().get_or_insert_with(Instant::now);
    }

    /// Notes an answer.
    fn heard(&self) {
        *self.silence() = None;
    }

    /// Returns `true` if no command was answered for so long that the connection is ended. Until then it is kept,
    /// because a Redis that only pauses executes the commands when it resumes, renewals of leases above all.
    fn is_silent(&self) -> bool {
        self.silence().is_some_and(|since| since.elapsed() > self.probe_interval)
    }

    fn silence(&self) -> MutexGuard<'_, Option<Instant>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn idle() -> BusError {
    closed("the bus is not running")
}

fn outcome(item: Item, of_sent: impl FnOnce(Message) -> Fate) -> Fate {
    match item {
        Item::Send(message) => of_sent(message),
        Item::Refuse(why) => Fate::NotSent(why),
    }
}

fn position_of(answer: Value) -> Option<Position> {
    from_redis_value::<String>(answer).ok()?.parse().ok()
}
