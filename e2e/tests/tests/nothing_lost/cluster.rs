//! Nodes, a Redis, the publishers and the readers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use e2e_tests::ContractServer;
use testkit::Rng;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::balancer::{Addresses, Balancer, Noticed};
use crate::followers::{Follower, Followers};
use crate::log::{Common, Log, Number};
use crate::publisher::Publisher;
use crate::reader::{Kind, follow};
use crate::store::{Redis, Store};
use crate::tally::{Table, Tally};

/// The longest time in which a reader receives nothing, and then goes on. The published JavaScript client waits longer after each
/// attempt that fails.
const HEALS: Duration = Duration::from_secs(60);

/// The rooms in which members see each other.
pub(crate) const WATCHED: &str = "/watched";

/// The form of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) name: &'static str,
    pub(crate) nodes: usize,
    pub(crate) store: Store,
    /// The rooms of `/history`, or of `/watched` with presence.
    pub(crate) lobby: &'static str,
    pub(crate) rooms: usize,
    /// The interval between two messages of a publisher. Each room has a publisher on each node.
    pub(crate) interval: Duration,
    pub(crate) readers: &'static [(Kind, usize)],
}

pub(crate) struct Reader {
    pub(crate) log: Arc<Log>,
    pub(crate) balancer: Balancer,
    room: usize,
}

pub(crate) struct Cluster {
    pub(crate) setup: Setup,
    pub(crate) redis: Redis,
    pub(crate) rng: Rng,
    nodes: Vec<Option<ContractServer>>,
    /// The addresses for publishers, and those for readers.
    addresses: Addresses,
    entrances: Addresses,
    publishers: Vec<Publisher>,
    pub(crate) readers: Vec<Reader>,
    rooms: Vec<Arc<Common>>,
    following: Vec<JoinHandle<()>>,
    _followers: Vec<Followers>,
    /// The tallies of the readers when all had joined.
    begin: Vec<Tally>,
    faults: Vec<String>,
}

impl Cluster {
    pub(crate) async fn start(setup: Setup, seed: u64) -> Cluster {
        let (addresses, entrances) = (Addresses::new(setup.nodes), Addresses::new(setup.nodes));
        let rooms: Vec<_> = (0..setup.rooms).map(|_| Arc::new(Common::default())).collect();
        let mut readers = Vec::new();
        for &(kind, count) in setup.readers {
            for nth in 0..count {
                let (number, room) = (readers.len(), readers.len() % setup.rooms);
                let log = Arc::new(Log::new(&format!("{} {nth}", kind.name()), kind, Arc::clone(&rooms[room])));
                readers.push(Reader { log, balancer: Balancer::start(number, entrances.clone()).await, room });
            }
        }
        let mut cluster = Cluster {
            redis: Redis::start(setup.store).await,
            rng: Rng::new(seed),
            nodes: (0..setup.nodes).map(|_| None).collect(),
            addresses,
            entrances,
            publishers: Vec::new(),
            readers,
            rooms,
            following: Vec::new(),
            _followers: Vec::new(),
            begin: Vec::new(),
            faults: Vec::new(),
            setup,
        };
        for node in 0..cluster.setup.nodes {
            cluster.start_node(node).await;
        }
        cluster.begin_messages().await;
        // Twice: what some received by the first time was sent before the last ones had joined, whom they are yet to see join.
        cluster.wait_until_healthy("the begin").await;
        cluster.wait_until_healthy("the begin").await;
        cluster.begin = cluster.tallies();
        cluster
    }

    fn room(&self, number: usize) -> String {
        format!("{}/proof-{number}", self.setup.lobby)
    }

    async fn begin_messages(&mut self) {
        let Setup { nodes, rooms, interval, .. } = self.setup;
        for number in 0..rooms * nodes {
            let room = self.room(number / nodes);
            let publisher = Publisher::start(number, number % nodes, self.addresses.clone(), room, interval);
            self.publishers.push(publisher);
        }
        let mut published = Vec::new();
        for (number, Reader { log, balancer, room }) in self.readers.iter().enumerate() {
            let (log, address, room) = (Arc::clone(log), balancer.address.to_string(), self.room(*room));
            let session = format!("session-of-reader-{number}-of-these-tests");
            if log.kind == Kind::Raw {
                self.following.push(follow(log, address, room, session));
            } else {
                // Two event streams with one session would end each other.
                let session = if log.kind == Kind::Stream { String::new() } else { session };
                published.push(Follower { log, address, room, session });
            }
        }
        self._followers = Followers::start(published).await;
    }

    /// Starts a node. It takes readers when its publisher is in the room and sees all others, because the first member on a node
    /// sees those of other nodes join.
    pub(crate) async fn start_node(&mut self, node: usize) {
        let mut settings = vec![("NODE_NAME", format!("node-{node}")), ("HISTORY_MESSAGES", "5000".into())];
        settings.extend(self.redis.setting());
        let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, &**value)).collect();
        let server = ContractServer::start_with(&settings).await;
        self.publishers.get(node).into_iter().for_each(Publisher::forget);
        self.addresses.set(node, Some(server.address));
        let (begin, all) = (Instant::now(), self.readers.len() + self.publishers.len());
        if self.setup.lobby == WATCHED
            && let Some(publisher) = self.publishers.get(node)
        {
            while publisher.present() < all {
                assert!(begin.elapsed() < HEALS, "{} of {all} users are seen", publisher.present());
                sleep(Duration::from_millis(20)).await;
            }
        }
        self.entrances.set(node, Some(server.address));
        self.nodes[node] = Some(server);
    }

    /// Kills a node with SIGKILL.
    pub(crate) fn kill(&mut self, node: usize) {
        self.entrances.set(node, None);
        self.addresses.set(node, None);
        self.nodes[node] = None;
    }

    /// Stops a node with SIGTERM, and waits for its end.
    pub(crate) async fn stop(&mut self, node: usize) {
        self.entrances.set(node, None);
        self.addresses.set(node, None);
        let mut server = self.nodes[node].take().expect("it runs");
        server.terminate();
        assert!(server.ended().await.success(), "it ends in good order");
    }

    /// Goes on for a time, in which readers lose their connections at random and come back to other nodes.
    pub(crate) async fn live(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let reader = self.rng.index(self.readers.len());
            self.readers[reader].balancer.cut(Duration::ZERO, Noticed::ByBoth);
            sleep(Duration::from_millis(self.rng.range((50, 250)))).await;
        }
    }

    /// Waits until every reader has messages of all publishers in its room that were sent from now on. Their positions show that all
    /// nodes are in one history.
    pub(crate) async fn wait_until_healthy(&self, what: &str) -> Duration {
        let begin = Instant::now();
        let sent: Vec<_> = self.publishers.iter().map(Publisher::sent).collect();
        for Reader { log, room, .. } in &self.readers {
            let of_room = &sent[room * self.setup.nodes..(room + 1) * self.setup.nodes];
            let has_come = || {
                let newest = log.newest();
                let has = |after: &Number| newest.get(&after.publisher).is_some_and(|newest| newest > after);
                of_room.iter().all(has) && !log.is_joining()
            };
            let came = self.while_it_goes_on(log, has_come).await;
            assert!(
                came,
                "{what}: {} has {:?} and not what is behind {of_room:?}; {}",
                log.name,
                log.newest(),
                log.recent()
            );
        }
        begin.elapsed()
    }

    /// Waits until a condition holds. Returns `false` if the reader receives nothing for a long time and it still does not: on a busy
    /// machine it may have much to read.
    async fn while_it_goes_on(&self, log: &Log, condition: impl Fn() -> bool) -> bool {
        let (mut last, mut at) = (log.received(), Instant::now());
        while !condition() {
            let received = log.received();
            if received != last {
                (last, at) = (received, Instant::now());
            }
            if at.elapsed() > HEALS {
                return false;
            }
            sleep(Duration::from_millis(20)).await;
        }
        true
    }

    /// The number of messages that were sent and that some reader has received.
    pub(crate) fn sent(&self) -> usize {
        self.rooms.iter().map(|room| room.count()).sum()
    }

    pub(crate) fn tallies(&self) -> Vec<Tally> {
        self.readers.iter().map(|reader| reader.log.tally()).collect()
    }

    /// The tally of all readers since all had joined.
    pub(crate) fn total(&self) -> Tally {
        let tallies: Vec<_> = self.tallies().iter().zip(&self.begin).map(|(now, begin)| now.since(begin)).collect();
        Tally::sum(&tallies)
    }

    /// Remembers something that must not happen.
    pub(crate) fn found(&mut self, fault: String) {
        println!("{}: FAULT: {fault}", self.setup.name);
        self.faults.push(fault);
    }

    /// Ends the messages: all readers must have the last ones. Returns the results.
    pub(crate) async fn ends(mut self, note: String) -> (Table, Vec<String>) {
        self.publishers.iter().for_each(Publisher::pause);
        let mut faults = std::mem::take(&mut self.faults);
        // Twice: a message that was under way when the first readers were looked at has been sent by the second time.
        for is_last in [false, true] {
            for Reader { log, room, .. } in &self.readers {
                let of_room = &self.publishers[room * self.setup.nodes..(room + 1) * self.setup.nodes];
                let sent =
                    || of_room.iter().map(Publisher::sent).map(|it| (it.publisher, it)).collect::<HashMap<_, _>>();
                // One that was told of a gap after the last message is owed nothing.
                if !self.while_it_goes_on(log, || log.newest() == sent() || log.is_behind_gap()).await && is_last {
                    faults.push(format!("{} ends with {:?} and not {:?}", log.name, log.newest(), sent()));
                }
            }
        }
        self.following.iter().for_each(JoinHandle::abort);
        let mut rows: BTreeMap<Kind, (usize, Vec<Tally>)> = BTreeMap::new();
        let mut ends = vec![None; self.setup.rooms];
        for (reader, begin) in self.readers.iter().zip(&self.begin) {
            let tally = reader.log.tally();
            faults.extend(tally.fault.clone().or_else(|| reader.log.unexplained()));
            let end = ends[reader.room].get_or_insert(tally.last);
            if *end != tally.last && !reader.log.is_behind_gap() {
                faults.push(format!("{} ends at {:?}, another one at {end:?}", reader.log.name, tally.last));
            }
            let (count, row) = rows.entry(reader.log.kind).or_default();
            *count += 1;
            row.push(tally.since(begin));
        }
        let rows = rows.into_iter().map(|(kind, (count, tallies))| (kind, (count, Tally::sum(&tallies)))).collect();
        (Table { form: self.setup.name.to_owned(), sent: self.sent(), rows, note }, faults)
    }
}
