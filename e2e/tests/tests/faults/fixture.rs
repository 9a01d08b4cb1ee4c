//! The fixture of a fault: three nodes, a Redis, and members in three rooms that go on as if nothing were wrong.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::time::Duration;

use testkit::{RedisServer, Rng};
use tokio::time::{Instant, sleep_until};

use crate::member::Member;
use crate::node::Node;
use crate::view::People;
use crate::world::{NODES, Processes, VICTIM, World};

pub(crate) const ROOMS: usize = 3;

/// The members that stay, by node and room. In each room but the first there are nodes without one, so that the channel
/// closes there and opens again.
const RESIDENTS: [(usize, usize); 6] = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 2), (2, 2)];

/// The interval between changes.
const PACE: Duration = Duration::from_millis(60);

pub(crate) struct Fixture {
    pub(crate) nodes: Vec<Node>,
    pub(crate) redis: RedisServer,
    pub(crate) replica: Option<RedisServer>,
    pub(crate) sentinel: Option<RedisServer>,
    pub(crate) members: Vec<Member>,
    /// The time at which each user that has left did so, by id.
    pub(crate) gone: HashMap<String, Instant>,
    /// The most members at a time, residents included.
    most: usize,
    pub(crate) rng: Rng,
    statuses: usize,
    /// The longest time until somebody was told of those who went with their node.
    pub(crate) told_after: Option<Duration>,
    /// A remark for the table of results.
    pub(crate) note: String,
    /// The number of rounds of messages that were sent.
    pub(crate) messages: u64,
    /// The ids of all users that ever were on the victim, and whether other nodes may report these as gone although
    /// they are present.
    pub(crate) victims: HashSet<String>,
    pub(crate) hides_victims: bool,
}

/// The people of a node, and since when it is gone, or may seem to be.
pub(crate) struct Departure {
    people: Vec<(String, usize)>,
    at: Instant,
}

impl Fixture {
    /// Everybody is there and sees all others.
    pub(crate) async fn set(world: World, most: usize, seed: u64) -> Fixture {
        let Processes { nodes, redis, replica, sentinel, note } = world.begin().await;
        let mut fixture = Fixture {
            nodes,
            redis,
            replica,
            sentinel,
            members: Vec::new(),
            gone: HashMap::new(),
            most,
            rng: Rng::new(seed),
            statuses: 0,
            told_after: None,
            note,
            messages: 0,
            victims: HashSet::new(),
            hides_victims: false,
        };
        for node in 0..NODES {
            fixture.settle_in(node).await;
        }
        fixture.begins().await;
        fixture
    }

    /// The residents of a node come.
    async fn settle_in(&mut self, node: usize) {
        for (_, room) in RESIDENTS.into_iter().filter(|(of, _)| *of == node) {
            self.join(node, room, true).await;
        }
    }

    /// The users in a room, with their statuses.
    pub(crate) fn people(&self, room: usize) -> People {
        let members = self.members.iter().filter(|member| member.room == room);
        members.map(|member| (member.id.clone(), member.status.clone())).collect()
    }

    /// Lets members join, leave and change for `time`.
    pub(crate) async fn live(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let next = Instant::now() + PACE.mul_f64(0.5 + self.rng.fraction());
            if next > end {
                return sleep_until(end).await;
            }
            self.step().await;
            sleep_until(next).await;
        }
    }

    /// Some time, in milliseconds.
    pub(crate) fn random(&mut self, within: Range<u64>) -> Duration {
        Duration::from_millis(self.rng.range((within.start, within.end - 1)))
    }

    /// One of them does something.
    async fn step(&mut self) {
        let visitors: Vec<_> = (0..self.members.len()).filter(|&member| !self.members[member].resides).collect();
        let visitor = self.rng.pick(&visitors).copied();
        match (self.rng.below(10), visitor) {
            (0..4, _) if self.members.len() < self.most => {
                let answering: Vec<_> = (0..NODES).filter(|&node| self.nodes[node].server().is_some()).collect();
                let node = *self.rng.pick(&answering).expect("not all nodes are away");
                let room = self.rng.index(ROOMS);
                self.join(node, room, false).await;
            }
            (4..6, Some(visitor)) => self.part(visitor).leave(),
            (6, Some(visitor)) => self.part(visitor).cut(),
            _ => {
                self.statuses += 1;
                let status = format!("s{}", self.statuses);
                let member = self.rng.index(self.members.len());
                self.members[member].show(status);
            }
        }
    }

    async fn join(&mut self, node: usize, room: usize, resides: bool) {
        let server = self.nodes[node].server().expect("it answers");
        let member = Member::join(server, node, room, resides).await;
        if node == VICTIM {
            self.victims.insert(member.id.clone());
        }
        self.members.push(member);
    }

    /// Somebody is gone from now on.
    fn part(&mut self, member: usize) -> Member {
        let member = self.members.swap_remove(member);
        self.gone.insert(member.id.clone(), Instant::now());
        member
    }

    fn people_of(&self, node: usize) -> Departure {
        let people = self.members.iter().filter(|member| member.node == node);
        Departure { people: people.map(|member| (member.id.clone(), member.room)).collect(), at: Instant::now() }
    }

    /// All of a node are gone from now on.
    fn lose(&mut self, node: usize) -> Departure {
        let departure = self.people_of(node);
        self.gone.extend(departure.people.iter().map(|(id, _)| (id.clone(), departure.at)));
        self.members.retain(|member| member.node != node);
        departure
    }

    /// `kill -9` of the victim.
    pub(crate) fn kill(&mut self) -> Departure {
        let departure = self.lose(VICTIM);
        self.nodes[VICTIM].kill();
        departure
    }

    /// SIGTERM to the victim.
    pub(crate) async fn stop(&mut self) -> Departure {
        let departure = self.lose(VICTIM);
        self.nodes[VICTIM].stop().await;
        departure
    }

    /// The victim is there again under its name, and has people.
    pub(crate) async fn start(&mut self) {
        self.nodes[VICTIM].start_again().await;
        self.settle_in(VICTIM).await;
    }

    /// From now on people of the victim may seem gone to others, although they are there.
    pub(crate) fn hide(&mut self) -> Departure {
        self.hides_victims = true;
        self.people_of(VICTIM)
    }

    /// SIGSTOP to the victim.
    pub(crate) fn freeze(&mut self) {
        self.nodes[VICTIM].freeze();
    }

    /// SIGCONT to the victim.
    pub(crate) fn thaw(&mut self) {
        self.nodes[VICTIM].thaw();
    }

    /// All who were in a room with somebody who went, and still are, have been told within this time.
    pub(crate) fn was_told_of(&mut self, departure: &Departure, most: Duration) {
        let mut worst = Duration::ZERO;
        for (id, room) in &departure.people {
            let others = self.members.iter().filter(|member| member.room == *room && member.node != VICTIM);
            for witness in others {
                let seen = witness.seen();
                let told = seen.view.leaves.iter().find(|(who, at)| who == id && *at >= departure.at);
                // Who came later may never have been told that somebody was there.
                if let Some((_, at)) = told {
                    worst = worst.max(*at - departure.at);
                } else {
                    assert!(!seen.view.followed.contains_key(id), "nobody was told that {id} is gone");
                }
            }
        }
        assert!(worst > Duration::ZERO, "somebody was told");
        assert!(worst <= most, "others were told after {worst:?}");
        self.told_after = self.told_after.max(Some(worst));
    }
}

/// The number of nodes that a Redis delivers to: each of ours subscribes to this topic.
pub(crate) async fn subscribers(redis: &RedisServer) -> usize {
    let answer: (String, usize) = redis.command(&["PUBSUB", "NUMSUB", "pondsocket:v1:default:__cluster__"]).await;
    answer.1
}
