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
const INTERVAL: Duration = Duration::from_millis(60);

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
    /// The longest time until a member received the leave of a user whose node had ended.
    pub(crate) told_after: Option<Duration>,
    /// A remark for the table of results.
    pub(crate) note: String,
    /// The number of rounds of messages that were sent.
    pub(crate) messages: u64,
    /// The ids of all users that ever were on the victim, and whether other nodes may report them as gone although
    /// they are present.
    pub(crate) victims: HashSet<String>,
    pub(crate) hides_victims: bool,
}

/// The members of a node, and the time since which it has ended or may seem to have.
pub(crate) struct Departure {
    people: Vec<(String, usize)>,
    at: Instant,
}

impl Fixture {
    /// Starts a world, joins its first members, and waits until all see each other.
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

    /// Joins the members that stay as long as their node.
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

    /// Lets random members join, leave and change their presence for a time.
    pub(crate) async fn live(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let next = Instant::now() + INTERVAL.mul_f64(0.5 + self.rng.fraction());
            if next > end {
                return sleep_until(end).await;
            }
            self.step().await;
            sleep_until(next).await;
        }
    }

    /// A random time of this range of milliseconds.
    pub(crate) fn random(&mut self, within: Range<u64>) -> Duration {
        Duration::from_millis(self.rng.range((within.start, within.end - 1)))
    }

    /// Does one random action.
    async fn step(&mut self) {
        let visitors: Vec<_> = (0..self.members.len()).filter(|&member| !self.members[member].resides).collect();
        let visitor = self.rng.pick(&visitors).copied();
        match (self.rng.below(10), visitor) {
            (0..4, _) if self.members.len() < self.most => {
                let answering: Vec<_> = (0..NODES).filter(|&node| self.nodes[node].server().is_some()).collect();
                let node = *self.rng.pick(&answering).expect("some node answers");
                let room = self.rng.index(ROOMS);
                self.join(node, room, false).await;
            }
            (4..6, Some(visitor)) => self.part(visitor).leave(),
            (6, Some(visitor)) => self.part(visitor).reset(),
            _ => {
                self.statuses += 1;
                let status = format!("s{}", self.statuses);
                let member = self.rng.index(self.members.len());
                self.members[member].update_presence(status);
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

    /// Removes a member from the expected users.
    fn part(&mut self, member: usize) -> Member {
        let member = self.members.swap_remove(member);
        self.gone.insert(member.id.clone(), Instant::now());
        member
    }

    fn people_of(&self, node: usize) -> Departure {
        let people = self.members.iter().filter(|member| member.node == node);
        Departure { people: people.map(|member| (member.id.clone(), member.room)).collect(), at: Instant::now() }
    }

    /// Removes all members of a node from the expected users.
    fn lose(&mut self, node: usize) -> Departure {
        let departure = self.people_of(node);
        self.gone.extend(departure.people.iter().map(|(id, _)| (id.clone(), departure.at)));
        self.members.retain(|member| member.node != node);
        departure
    }

    /// Kills the victim with SIGKILL.
    pub(crate) fn kill(&mut self) -> Departure {
        let departure = self.lose(VICTIM);
        self.nodes[VICTIM].kill();
        departure
    }

    /// Stops the victim with SIGTERM.
    pub(crate) async fn stop(&mut self) -> Departure {
        let departure = self.lose(VICTIM);
        self.nodes[VICTIM].stop().await;
        departure
    }

    /// Restarts the victim under its name, with new members.
    pub(crate) async fn start(&mut self) {
        self.nodes[VICTIM].start_again().await;
        self.settle_in(VICTIM).await;
    }

    /// Allows other nodes to report the members of the victim as gone although they are present.
    pub(crate) fn hide(&mut self) -> Departure {
        self.hides_victims = true;
        self.people_of(VICTIM)
    }

    /// Freezes the victim with SIGSTOP.
    pub(crate) fn freeze(&mut self) {
        self.nodes[VICTIM].freeze();
    }

    /// Continues the victim with SIGCONT.
    pub(crate) fn thaw(&mut self) {
        self.nodes[VICTIM].thaw();
    }

    /// Checks that all present members of a room received the leaves of these users within this time.
    pub(crate) fn check_leaves(&mut self, departure: &Departure, most: Duration) {
        let mut worst = Duration::ZERO;
        for (id, room) in &departure.people {
            let others = self.members.iter().filter(|member| member.room == *room && member.node != VICTIM);
            for witness in others {
                let seen = witness.seen();
                let told = seen.view.leaves.iter().find(|(who, at)| who == id && *at >= departure.at);
                // A member that joined later may never have received the user's join.
                if let Some((_, at)) = told {
                    worst = worst.max(*at - departure.at);
                } else {
                    assert!(!seen.view.followed.contains_key(id), "no leave of {id} was received");
                }
            }
        }
        assert!(worst > Duration::ZERO, "at least one leave was received");
        assert!(worst <= most, "others were told after {worst:?}");
        self.told_after = self.told_after.max(Some(worst));
    }
}

/// The number of nodes that are subscribed at a Redis: each subscribes to this topic.
pub(crate) async fn subscribers(redis: &RedisServer) -> usize {
    let answer: (String, usize) = redis.command(&["PUBSUB", "NUMSUB", "pondsocket:v1:default:__cluster__"]).await;
    answer.1
}
