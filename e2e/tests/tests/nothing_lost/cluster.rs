//! Three nodes, a Redis, the publishers and the readers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use e2e_tests::ContractServer;
use testkit::{RedisServer, Rng};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::balancer::{Addresses, Balancer};
use crate::faults::Fault;
use crate::log::{Common, Log, Number, Summary};
use crate::publisher::Publisher;
use crate::reader::{Published, follow};

pub(crate) const NODES: usize = 3;
const RAW: usize = 3;
const PAGES: [(&str, &str); 5] =
    [("page 0", "ws"), ("page 1", "ws"), ("page 2", "ws"), ("stream 0", "http"), ("stream 1", "http")];

/// The longest time in which all readers receive messages of all nodes again.
const HEALS: Duration = Duration::from_secs(20);

const ROOM: &str = "/history/proof";

pub(crate) struct Cluster {
    pub(crate) redis: RedisServer,
    pub(crate) rng: Rng,
    nodes: Vec<Option<ContractServer>>,
    addresses: Addresses,
    publishers: Vec<Publisher>,
    readers: Vec<(Arc<Log>, Balancer)>,
    following: Vec<JoinHandle<()>>,
    _published: Published,
    common: Common,
    before: Vec<Summary>,
}

impl Cluster {
    pub(crate) async fn start(rng: Rng) -> Cluster {
        let redis = RedisServer::start().await;
        let addresses = Addresses::new(NODES);
        let mut readers = Vec::new();
        let names = (0..RAW).map(|n| format!("raw {n}")).chain(PAGES.map(|(name, _)| name.to_owned()));
        for (first, name) in names.enumerate() {
            readers.push((Arc::new(Log::new(&name)), Balancer::start(first, addresses.clone()).await));
        }
        let mut cluster = Cluster {
            redis,
            rng,
            nodes: (0..NODES).map(|_| None).collect(),
            publishers: (0..NODES).map(|node| Publisher::start(node, addresses.clone(), ROOM.into())).collect(),
            following: Vec::new(),
            _published: Published::start(
                readers[RAW..]
                    .iter()
                    .zip(PAGES)
                    .map(|((log, balancer), (_, scheme))| {
                        (Arc::clone(log), format!("{scheme}://{}/api/socket", balancer.address))
                    })
                    .collect(),
                ROOM,
            ),
            addresses,
            before: vec![Summary::default(); readers.len()],
            readers,
            common: Common::default(),
        };
        for node in 0..NODES {
            cluster.start_node(node).await;
        }
        for (log, balancer) in &cluster.readers[..RAW] {
            cluster.following.push(follow(Arc::clone(log), balancer.address.to_string(), ROOM.into()));
        }
        cluster.heals("the begin").await;
        cluster
    }

    pub(crate) async fn start_node(&mut self, node: usize) {
        let settings =
            [("REDIS_URL", &*self.redis.url()), ("NODE_NAME", &format!("node-{node}")), ("HISTORY_MESSAGES", "5000")];
        let server = ContractServer::start_with(&settings).await;
        self.addresses.set(node, Some(server.address));
        self.nodes[node] = Some(server);
    }

    /// Kills a node with SIGKILL.
    pub(crate) fn kill(&mut self, node: usize) {
        self.addresses.set(node, None);
        self.nodes[node] = None;
    }

    /// Stops a node with SIGTERM, and waits for its end.
    pub(crate) async fn stop(&mut self, node: usize) {
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
            self.readers[reader].1.cut();
            sleep(Duration::from_millis(self.rng.range((50, 250)))).await;
        }
    }

    /// Waits until every reader has messages of all nodes that were sent from now on. Their positions show that all nodes are in
    /// one history.
    async fn heals(&self, what: &str) -> Duration {
        let begin = Instant::now();
        let sent: Vec<_> = self.publishers.iter().map(Publisher::sent).collect();
        for (log, _) in &self.readers {
            loop {
                let newest = log.newest();
                let lacks = |after: &&Number| newest.get(&after.publisher).is_none_or(|newest| newest <= *after);
                let Some(after) = sent.iter().find(lacks) else { break };
                let seen = newest.get(&after.publisher);
                assert!(begin.elapsed() < HEALS, "{what}: {} has {seen:?} and nothing behind {after:?}", log.name);
                sleep(Duration::from_millis(10)).await;
            }
        }
        begin.elapsed()
    }

    /// Lets a fault happen, and checks that nobody has noticed more than he may.
    pub(crate) async fn bears(&mut self, fault: &Fault) {
        let Fault { name, is_told, cause } = fault;
        let begin = Instant::now();
        cause(self).await;
        let healed = self.heals(name).await;
        let after = self.check();
        let sum = |all: &[Summary], of: fn(&Summary) -> usize| all.iter().map(of).sum::<usize>();
        let since = |of: fn(&Summary) -> usize| sum(&after, of) - sum(&self.before, of);
        let (gaps, unkept, repeats) = (since(|it| it.gaps), since(|it| it.unkept), since(|it| it.repeats));
        println!(
            "{name}: {:.1} s, healed after {:.1} s, {} messages received, {gaps} gaps told, {unkept} not kept, {repeats} again behind a gap",
            begin.elapsed().as_secs_f64(),
            healed.as_secs_f64(),
            since(|it| it.messages),
        );
        assert!(
            !after.iter().any(|it| it.is_owed_notice),
            "{name}: somebody was not told that a node was alone: {after:?}"
        );
        if *is_told {
            for ((log, _), (before, after)) in self.readers.iter().zip(self.before.iter().zip(&after)) {
                assert!(after.gaps > before.gaps, "{name}: {} was not told", log.name);
            }
        } else {
            assert_eq!((gaps, unkept, repeats), (0, 0, 0), "{name}: nobody may notice anything");
        }
        self.before = after;
    }

    /// Checks the logs of all readers from the begin.
    fn check(&mut self) -> Vec<Summary> {
        let checked = self.readers.iter().map(|(log, _)| log.check(&mut self.common));
        checked.collect::<Result<_, _>>().unwrap_or_else(|fault| panic!("{fault}"))
    }

    /// Ends the messages: all readers must have the last ones.
    pub(crate) async fn ends(mut self) {
        self.publishers.iter().for_each(Publisher::pause);
        let begin = Instant::now();
        for (log, _) in &self.readers {
            loop {
                // Read each time: a publisher may just have sent one more.
                let sent: HashMap<_, _> =
                    self.publishers.iter().map(Publisher::sent).map(|sent| (sent.publisher, sent)).collect();
                let newest = log.newest();
                if newest == sent {
                    break;
                }
                assert!(begin.elapsed() < HEALS, "{} has {newest:?} and not {sent:?}", log.name);
                sleep(Duration::from_millis(10)).await;
            }
        }
        let all = self.check();
        assert!(all.iter().all(|one| one.last == all[0].last), "all end at one position: {all:?}");
        println!("all readers end at {:?}", all[0].last);
        self.following.iter().for_each(JoinHandle::abort);
    }
}
