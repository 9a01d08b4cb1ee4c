//! A bus over the memory hub whose store is as slow or as silent as a test wants.

use std::future::{pending, ready};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pondsocket::cluster::{
    Append, Appended, BoxFuture, Bus, BusError, BusErrorKind, BusSink, Epoch, HistoryStore, Leases, Outcome, Position,
    Publish, SharedBus, Stop, StoredHistory, StoredRecord, Topic,
};
use pondsocket::testing::bus::{MemoryBus, MemoryHub};
use pondsocket::{ConnectionContext, Error, History, JoinContext, Options, PondSocket};
use testkit::Recorder;
use tokio::time::sleep;

type Result<T> = std::result::Result<T, BusError>;

/// The behaviour of a store.
#[derive(Clone, Debug)]
pub(crate) enum Manner {
    /// It answers as the memory hub does.
    Answers,
    /// It takes this time for each batch of messages.
    TakesItsTime(Duration),
    /// It refuses messages, at once.
    Refuses,
    /// It refuses the messages of the topics that end with this text, and takes others.
    RefusesTopic(&'static str),
    /// It does as it is told, as the bus does, and neither says how it ended.
    LeavesOutcomesOut,
    /// It takes messages and never answers. What is read it answers.
    Hangs,
    /// It executes nothing, and neither does the rest of the bus. After this time the wait for an answer is given up.
    IsFrozen(Duration),
}

/// The bus, and its store.
pub(crate) struct Stubborn {
    bus: Arc<MemoryBus>,
    manner: Mutex<Manner>,
    asked: AtomicUsize,
}

impl Stubborn {
    pub(crate) fn new(hub: &MemoryHub) -> Arc<Stubborn> {
        Arc::new(Stubborn { bus: hub.node(), manner: Mutex::new(Manner::Answers), asked: AtomicUsize::new(0) })
    }

    /// Changes the behaviour for further requests.
    pub(crate) fn set(&self, manner: Manner) {
        *self.manner.lock().unwrap_or_else(PoisonError::into_inner) = manner;
    }

    /// The number of batches that it was given.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn manner(&self) -> Manner {
        self.manner.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn store(&self) -> &dyn HistoryStore {
        self.bus.history().expect("a store")
    }

    /// The answer to a question, unless the store is frozen.
    fn answer<'a, T: Send>(
        &'a self,
        ask: impl FnOnce(&'a dyn HistoryStore) -> BoxFuture<'a, Result<T>>,
    ) -> BoxFuture<'a, Result<T>> {
        match self.manner() {
            Manner::IsFrozen(limit) => Box::pin(async move {
                sleep(limit).await;
                Err(error(BusErrorKind::Timeout))
            }),
            _ => ask(self.store()),
        }
    }
}

fn error(kind: BusErrorKind) -> BusError {
    BusError::new(kind, "the test wants it")
}

impl Bus for Stubborn {
    fn run(self: Arc<Self>, sink: BusSink, stop: Stop) -> BoxFuture<'static, Result<()>> {
        Arc::clone(&self.bus).run(sink, stop)
    }

    fn update_subscriptions(&self, add: &[Topic], remove: &[Topic]) {
        self.bus.update_subscriptions(add, remove);
    }

    fn publish(&self, batch: Vec<Publish>) -> BoxFuture<'_, Vec<Outcome>> {
        match self.manner() {
            Manner::IsFrozen(limit) => Box::pin(async move {
                sleep(limit).await;
                vec![Outcome::Unknown(error(BusErrorKind::Timeout)); batch.len()]
            }),
            Manner::LeavesOutcomesOut => {
                drop(self.bus.publish(batch));
                Box::pin(ready(Vec::new()))
            }
            _ => self.bus.publish(batch),
        }
    }

    fn leases(&self) -> Option<&dyn Leases> {
        self.bus.leases()
    }

    fn history(&self) -> Option<&dyn HistoryStore> {
        Some(self)
    }
}

impl HistoryStore for Stubborn {
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Vec<Appended>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let refused = || Appended::NotSent(error(BusErrorKind::Closed));
        let count = batch.len();
        match self.manner() {
            Manner::Answers => self.store().append(batch),
            Manner::TakesItsTime(time) => {
                let answer = self.store().append(batch);
                Box::pin(async move {
                    sleep(time).await;
                    answer.await
                })
            }
            Manner::Refuses => Box::pin(ready(vec![refused(); count])),
            Manner::RefusesTopic(end) => Box::pin(async move {
                let mut outcomes = Vec::with_capacity(count);
                for append in batch {
                    match append.topic.as_str().ends_with(end) {
                        true => outcomes.push(refused()),
                        false => outcomes.append(&mut self.store().append(vec![append]).await),
                    }
                }
                outcomes
            }),
            Manner::LeavesOutcomesOut => {
                drop(self.store().append(batch));
                Box::pin(ready(Vec::new()))
            }
            Manner::Hangs => Box::pin(pending()),
            Manner::IsFrozen(limit) => Box::pin(async move {
                sleep(limit).await;
                vec![Appended::Unknown(error(BusErrorKind::Timeout)); count]
            }),
        }
    }

    fn read<'a>(
        &'a self,
        topic: &'a Topic,
        after: Option<Position>,
        most: usize,
    ) -> BoxFuture<'a, Result<StoredHistory>> {
        self.answer(|store| store.read(topic, after, most))
    }

    fn begin<'a>(&'a self, topic: &'a Topic, epoch: Epoch, life: Duration) -> BoxFuture<'a, Result<()>> {
        self.answer(|store| store.begin(topic, epoch, life))
    }

    fn restart<'a>(&'a self, topic: &'a Topic, epoch: Epoch, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        self.answer(|store| store.restart(topic, epoch, ttl))
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<StoredRecord>>> {
        self.answer(|store| store.get(key))
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        record: &'a StoredRecord,
        replaces: u64,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<bool>> {
        self.answer(|store| store.put(key, record, replaces, ttl))
    }
}

/// A node whose rooms `/chat/:room` keep all messages but `typed`, for clients which are all Ada.
pub(crate) fn kept_chat(bus: impl Into<SharedBus>, recorder: &Recorder) -> PondSocket {
    let options = Options::default().bus(bus).node_name("one".to_owned());
    let pond = PondSocket::with_options(options).expect("valid options").metrics(recorder.clone());
    let endpoint =
        pond.create_endpoint("/", async |ctx: ConnectionContext| Ok::<_, Error>(ctx.accept().user_id("ada")));
    let lobby = endpoint.create_channel("/chat/:room", async |ctx: JoinContext| Ok::<_, Error>(ctx.accept()));
    lobby.history(History::new().without(["typed"]));
    pond
}
