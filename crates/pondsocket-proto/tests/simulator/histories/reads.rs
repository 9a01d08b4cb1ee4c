//! The reads of a node from the store.

use pondsocket_proto::channel::{StoredMessage, StoredMessages, UserMessage};
use pondsocket_proto::cluster::ChannelKey;
use pondsocket_proto::position::Position;

use super::super::node::RunState;
use super::super::redis::{Delivered, Peer};
use super::super::world::World;
use super::STORE_TIMEOUT;
use super::channel::policy_of;
use super::store::{Author, StoreAnswer, StoreRequest, Stored};

/// The time for which a channel waits for messages that nearly always come by themselves.
pub(super) const GRACE: u64 = 50;

/// The time after which a failed read is repeated.
pub(super) const RETRY: u64 = 500;

/// A read that waits for the store.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingRead {
    /// The number of its present request.
    request: u64,
    /// The time of that request.
    pub(super) asked: u64,
    /// The number of the read in its channel.
    number: u64,
    stage: ReadStage,
    /// The state of the history when the read began.
    seen: Position,
    is_loading: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ReadStage {
    /// The history begins anew, because this node has given positions without the store.
    Restarting,
    Reading,
    /// There was no history, so it begins.
    Beginning,
    ReadingAgain,
}

impl World {
    /// Begins the reads of a node that are due, and gives up those without an answer.
    pub(super) fn read_due(&mut self, peer: Peer) {
        let now = self.now;
        self.fail_reads(peer, |read| now >= read.asked + STORE_TIMEOUT);
        let Some(node) = self.histories().nodes.get_mut(&peer) else { return };
        let due = node.open.iter_mut().filter(|(_, open)| open.read_at.is_some_and(|at| at <= now));
        let mut begun = Vec::new();
        for (key, open) in due {
            open.read_at = None;
            open.begun += 1;
            begun.push((key.clone(), open.begun));
        }
        for (key, number) in begun {
            self.begin_read(peer, &key, number);
        }
    }

    fn begin_read(&mut self, peer: Peer, key: &ChannelKey, number: u64) {
        let (now, keeps_silent) = (self.now, self.gate.forgets_outages());
        let is_up = self.redis.is_up(peer);
        let open = self.open_mut(peer, key).expect("it is open");
        if is_up {
            open.channel.reattach();
        }
        let (seen, is_loading) = (open.position(), open.channel.is_loading());
        let restarts = open.channel.owes_restart() && !keeps_silent;
        let stage = if restarts { ReadStage::Restarting } else { ReadStage::Reading };
        let mut read = PendingRead { request: 0, asked: now, number, stage, seen, is_loading };
        if !is_up {
            return self.read_failed(peer, key, read);
        }
        read.request = self.ask_for(peer, key, &read);
        self.open_mut(peer, key).expect("it is open").reads.push(read);
    }

    fn open_mut(&mut self, peer: Peer, key: &ChannelKey) -> Option<&mut super::OpenHistory> {
        self.histories().nodes.get_mut(&peer)?.open.get_mut(key)
    }

    /// Sends the request of a read.
    fn ask_for(&mut self, peer: Peer, key: &ChannelKey, read: &PendingRead) -> u64 {
        let (key, fresh) = (key.clone(), self.histories().fresh_epoch());
        let request = match read.stage {
            ReadStage::Restarting => StoreRequest::Restart { key, fresh },
            ReadStage::Beginning => StoreRequest::Begin { key, fresh },
            ReadStage::Reading => StoreRequest::Read { key, after: (!read.is_loading).then_some(read.seen) },
            ReadStage::ReadingAgain => StoreRequest::Read { key, after: None },
        };
        self.ask_store(peer, request)
    }

    /// Gives up reads.
    pub(super) fn fail_reads(&mut self, peer: Peer, fails: impl Fn(&PendingRead) -> bool) {
        let Some(node) = self.histories().nodes.get_mut(&peer) else { return };
        let mut failed = Vec::new();
        for (key, open) in &mut node.open {
            let (given_up, rest) = open.reads.iter().partition(|read| fails(read));
            open.reads = rest;
            let given_up: Vec<PendingRead> = given_up;
            failed.extend(given_up.into_iter().map(|read| (key.clone(), read)));
        }
        for (key, read) in failed {
            self.read_failed(peer, &key, read);
        }
    }

    fn read_failed(&mut self, peer: Peer, key: &ChannelKey, read: PendingRead) {
        let now = self.now;
        let node = &self.histories().nodes[&peer];
        let open = &node.open[key];
        let serial = open.serial;
        let was_detached = open.channel.is_detached();
        if was_detached || read.is_loading && node.is_given_up(open.opened, now) {
            self.detach(peer, key, serial);
        }
        self.open_mut(peer, key).expect("it is open").plan_read(now + RETRY);
    }

    /// The store has answered a node.
    pub(crate) fn store_answers(&mut self, peer: Peer, session: u64, number: u64, answer: &StoreAnswer) {
        if self.is_history_idle() {
            return;
        }
        match self.node(peer).map(|node| node.run_state) {
            Some(RunState::Running) => {}
            Some(RunState::Paused) => {
                let what = Delivered::Answer { number, answer: answer.clone().into() };
                let wire = super::super::redis::Wire::Deliver { to: peer, session, what };
                return self.after(50, super::Event::Wire(wire));
            }
            _ => return,
        }
        self.note(|| format!("{peer} gets ({number}) {answer:?}"));
        match answer {
            StoreAnswer::Appended(positions) => {
                if self.appended(peer, number, positions) {
                    self.send_next(peer);
                }
            }
            answer => self.answer_read(peer, number, answer),
        }
        for key in self.histories().channels.clone() {
            self.admit_joins(peer, &key);
        }
        self.plan_work(peer);
    }

    fn answer_read(&mut self, peer: Peer, number: u64, answer: &StoreAnswer) {
        let now = self.now;
        let Some(node) = self.histories().nodes.get_mut(&peer) else { return };
        let found = node.open.iter_mut().find_map(|(key, open)| {
            let at = open.reads.iter().position(|read| read.request == number)?;
            Some((key.clone(), open.reads.remove(at)))
        });
        let Some((key, mut read)) = found else { return };
        read.stage = match (read.stage, answer) {
            (ReadStage::Restarting, _) => {
                self.announce_restart(peer, &key);
                ReadStage::Reading
            }
            (ReadStage::Beginning, _) => ReadStage::ReadingAgain,
            (ReadStage::Reading, StoreAnswer::History { position: None, .. }) => ReadStage::Beginning,
            (_, StoreAnswer::History { position, messages }) => {
                return self.load(peer, &key, read, (*position, messages));
            }
            (_, StoreAnswer::Appended(_) | StoreAnswer::Done) => return,
        };
        read.asked = now;
        read.request = self.ask_for(peer, &key, &read);
        self.open_mut(peer, &key).expect("it is open").reads.push(read);
    }

    /// Passes what was read on to its channel, if its history is still in the epoch in which the read began.
    fn load(&mut self, peer: Peer, key: &ChannelKey, read: PendingRead, found: (Option<Position>, &[Stored])) {
        let now = self.now;
        let fresh = self.histories().fresh_epoch();
        let Some((here, is_loaded)) = self.open_mut(peer, key).map(|open| open.state()) else { return };
        let (position, messages) = self.gate.read(here, is_loaded, found.0, found.1);
        let unfiltered = self.gate.forgets_filters();
        self.change_history(peer, (key, None), |open| {
            let serial = open.serial;
            let messages = messages.iter().map(|(stored, message)| StoredMessage {
                offset: stored.offset,
                age: stored.age,
                own: number_of(stored.by, peer, serial),
                message: Some(message.as_ref()),
            });
            let is_of_then = open.position().epoch == read.seen.epoch && open.channel.asks_for_positions();
            if is_of_then {
                let stored = StoredMessages { position, messages: messages.collect(), fresh };
                open.channel.load(stored, &|event| policy_of(event, unfiltered));
            }
            open.done = open.done.max(read.number);
            open.has_read = true;
            if !is_of_then || open.channel.is_behind() {
                open.plan_read(now + GRACE);
            }
        });
    }

    /// Delivers a message of another node, which its core has admitted.
    pub(crate) fn history_received(&mut self, peer: Peer, key: &ChannelKey, message: UserMessage) {
        let now = self.now;
        if self.is_history_idle() {
            return;
        }
        let Some((here, is_loaded)) = self.open_mut(peer, key).map(|open| open.state()) else { return };
        if self.note_eviction(peer, key, &message) {
            return;
        }
        let message = self.gate.kept(here, is_loaded, message);
        let unfiltered = self.gate.forgets_filters();
        self.change_history(peer, (key, None), |open| match message.position {
            Some(position) => {
                let policy = policy_of(&message.event, unfiltered);
                open.channel.deliver_kept(position, message.as_ref(), policy);
                if open.channel.is_behind() {
                    open.plan_read(now + GRACE);
                }
            }
            None => {
                open.channel.deliver(message.as_ref(), policy_of(&message.event, false)).expect("room");
            }
        });
        self.admit_joins(peer, key);
        self.plan_work(peer);
    }

    /// Another node has begun a history anew.
    pub(crate) fn history_restarted(&mut self, peer: Peer, key: &ChannelKey) {
        let now = self.now;
        if self.is_history_idle() {
            return;
        }
        if let Some(open) = self.open_mut(peer, key) {
            open.plan_read(now);
        }
        self.plan_work(peer);
    }
}

/// The number of a message, if this instance of a channel has sent it.
fn number_of(by: Author, peer: Peer, serial: u64) -> Option<u64> {
    ((by.peer, by.serial) == (peer, serial)).then_some(by.number)
}
