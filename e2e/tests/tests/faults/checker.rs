//! Checks after a fault has healed: all members see exactly the present users, receive messages from all nodes, and no
//! member on a surviving node was disturbed.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::fixture::{Fixture, ROOMS};
use crate::member::Member;
use crate::view::People;
use crate::world::{NODES, VICTIM};

/// The longest time that healing may take.
pub(crate) const HEALING: Duration = Duration::from_secs(10);

/// The time for which a healed cluster must stay healed.
const STAYS: Duration = Duration::from_secs(2);

/// The longest time for an answer of a node, and for the delivery of a message, after the cluster has healed.
const TIMEOUT: Duration = Duration::from_secs(5);

const POLL: Duration = Duration::from_millis(100);

impl Fixture {
    /// Waits until the cluster has healed, and checks that it stays so. Returns the time that healing took.
    pub(crate) async fn heals(&mut self) -> Duration {
        let healed = Instant::now();
        let first = self.messages + 1;
        let took = loop {
            self.send_messages();
            let mut faults = self.disagreements().await;
            faults.extend(self.missing_messages(first));
            if faults.is_empty() {
                break healed.elapsed();
            }
            assert!(healed.elapsed() < HEALING, "not healed within {HEALING:?}: {faults:#?}");
            sleep(POLL).await;
        };
        self.stays_healed().await;
        self.check_unaffected_members();
        took
    }

    /// Waits until all members see each other, before the fault.
    pub(crate) async fn begins(&mut self) {
        let deadline = Instant::now() + HEALING;
        loop {
            let faults = self.disagreements().await;
            if faults.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "they do not even find each other: {faults:#?}");
            sleep(POLL).await;
        }
    }

    async fn stays_healed(&mut self) {
        let end = Instant::now() + STAYS;
        while Instant::now() < end {
            let faults = self.disagreements().await;
            assert!(faults.is_empty(), "it was right, and is not any more: {faults:#?}");
            sleep(POLL).await;
        }
        self.send_messages();
        let deadline = Instant::now() + TIMEOUT;
        while let Some(fault) = self.missing_messages(self.messages).first() {
            assert!(Instant::now() < deadline, "when all was well: {fault}");
            sleep(POLL).await;
        }
    }

    /// Requests the present users from all nodes, and compares the answers and all earlier messages with the expected users.
    async fn disagreements(&self) -> Vec<String> {
        self.members.iter().for_each(Member::request_state);
        let deadline = Instant::now() + TIMEOUT;
        while self.members.iter().any(Member::has_open_request) && Instant::now() < deadline {
            sleep(POLL / 20).await;
        }
        let there: Vec<People> = (0..ROOMS).map(|room| self.people(room)).collect();
        let fault = |member: &Member| Some(format!("{member}: {}", member.seen().differs(&there[member.room])?));
        self.members.iter().filter_map(fault).collect()
    }

    /// Sends a message by one member of each node in each room.
    fn send_messages(&mut self) {
        self.messages += 1;
        for room in 0..ROOMS {
            for node in 0..NODES {
                if let Some(sender) = self.members.iter().find(|it| (it.room, it.node) == (room, node)) {
                    sender.send(self.messages, 0);
                }
            }
        }
    }

    /// The members that have received no message from some node since the message `first`.
    fn missing_messages(&self, first: u64) -> Vec<String> {
        let mut faults = Vec::new();
        for member in &self.members {
            for node in 0..NODES {
                let speaks = self.members.iter().any(|it| (it.room, it.node) == (member.room, node));
                if speaks && member.seen().heard[node] < first {
                    faults.push(format!("{member} does not hear those of node {node}"));
                }
            }
        }
        faults
    }

    fn check_unaffected_members(&self) {
        let with_name = |member: &Member, what: String| format!("{member}: {what}");
        let troubles = self.members.iter().filter_map(|it| Some(with_name(it, it.unexpected()?)));
        let contradictions = self.members.iter().flat_map(|it| {
            let contradictions = it.seen().view.contradictions.clone();
            contradictions.into_iter().map(|what| with_name(it, what)).collect::<Vec<_>>()
        });
        let deaths = self.members.iter().flat_map(|it| self.false_deaths(it));
        let all: Vec<_> = troubles.chain(contradictions).chain(deaths).collect();
        assert!(all.is_empty(), "{all:#?}");
    }

    /// Leaves that a member received although the users were present. Users of a node that seems dead are removed,
    /// but not from each other.
    fn false_deaths(&self, witness: &Member) -> Vec<String> {
        let seen = witness.seen();
        let was_there = |id: &str, at: Instant| self.gone.get(id).is_none_or(|gone| at < *gone);
        let is_excused = |id: &str| self.hides_victims && witness.node != VICTIM && self.victims.contains(id);
        let false_ones = seen.view.leaves.iter().filter(|(id, at)| was_there(id, *at) && !is_excused(id));
        false_ones.map(|(id, _)| format!("{witness} was told that {id} leaves, who was there")).collect()
    }
}
