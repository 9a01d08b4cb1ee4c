//! A client, and the rules for what it receives.

use std::collections::{HashMap, HashSet};

use pondsocket_proto::channel::{GapReason, Progress, Recovery, ResumeRequest, ResumeRules};
use pondsocket_proto::cluster::ChannelKey;
use pondsocket_proto::id::UserId;
use pondsocket_proto::position::{Epoch, Position};
use pondsocket_proto::wire::Resume;

use super::super::checker::Violation;
use super::super::world::World;
use super::Histories;
use super::connection::{Connection, Frame};
use super::evictions::Standing;
use super::ledger::Ledger;

/// A client knows its position, or the server finds it out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ClientKind {
    Aware,
    Stock,
}

#[derive(Debug)]
pub(super) struct HistoryClient {
    pub(super) key: ChannelKey,
    pub(super) user: UserId,
    pub(super) kind: ClientKind,
    /// Its number among all clients, by which it is blocked from some messages.
    pub(super) connection: Option<usize>,
    /// The last position that it has received, or was told.
    pub(super) last: Option<Position>,
    /// For a client that does not know its position: by the epoch, the offset up to which it has everything.
    received: HashMap<Epoch, u64>,
    /// The time of its first join, and the time at which it was last told that it has missed messages.
    pub(super) first_join: Option<u64>,
    pub(super) told_at: u64,
    /// The messages since then.
    seen: HashSet<usize>,
    /// The record of its session: the positions of a client that does not know them.
    pub(super) session: Option<Progress>,
    /// The connection whose positions the record has.
    pub(super) recorded: Option<usize>,
    pub(super) standing: Standing,
}

impl HistoryClient {
    pub(super) fn new(key: ChannelKey, number: usize) -> HistoryClient {
        HistoryClient {
            user: super::super::server_channel::user(&format!("h{number}{}", key.channel)),
            key,
            kind: if number % 3 == 2 { ClientKind::Stock } else { ClientKind::Aware },
            connection: None,
            last: None,
            received: HashMap::new(),
            first_join: None,
            told_at: 0,
            seen: HashSet::new(),
            session: None,
            recorded: None,
            standing: Standing::default(),
        }
    }

    /// The request with which it joins. `is_unread` is whether its node could not read the store since it came.
    pub(super) fn request(&self, is_unread: bool) -> Option<ResumeRequest> {
        let request = match self.kind {
            ClientKind::Aware => Some(self.last.map_or(Resume::FromNothing, Resume::From).into()),
            ClientKind::Stock => {
                let epoch = self.session.map(|session| session.epoch);
                ResumeRequest::choose(None, None, self.session, epoch, ResumeRules::default())
            }
        };
        request.map(|request| ResumeRequest { is_unread, ..request })
    }

    /// The client is told that it has missed messages, and goes on behind a position.
    pub(super) fn told(&mut self, at: u64, position: Option<Position>) {
        self.told_at = at;
        self.seen.clear();
        self.last = position;
        self.received.extend(position.map(|position| (position.epoch, position.offset)));
    }
}

/// The receipt of one frame by one client.
struct Receipt<'a> {
    /// The number of the client.
    number: usize,
    client: &'a mut HistoryClient,
    /// The number of the connection.
    over: usize,
    connection: &'a mut Connection,
    ledger: &'a mut Ledger,
    at: u64,
    /// True if nobody has a reason to be told of a gap.
    is_well: bool,
    /// True if, moreover, subscribers receive the messages of a history in the order of their offsets.
    is_ordered: bool,
}

impl Receipt<'_> {
    fn apply(self, frame: Frame) -> Result<(), Violation> {
        match frame {
            Frame::Acknowledgement(position) => {
                self.connection.acknowledged = Some(self.connection.sent_at(self.at));
                self.join(position)
            }
            Frame::Message { number, position } => self.message(number, position),
            Frame::Gap(next) => {
                self.client.told(self.at, Some(next));
                self.connection.last = None;
                match self.is_well {
                    true => Err(self.violation("H1", format!("is told of a gap up to {next}, and nothing was lost"))),
                    false => Ok(()),
                }
            }
            Frame::Ping(_) | Frame::Notice => Ok(()),
            Frame::Read => {
                self.connection.newest.clear();
                Ok(())
            }
        }
    }

    fn violation(&self, rule: &'static str, what: String) -> Violation {
        let (user, peer) = (&self.client.user, self.connection.peer);
        Violation { rule, what: format!("{user} ({:?}) at {peer} {what}", self.client.kind) }
    }

    fn join(self, position: Option<Position>) -> Result<(), Violation> {
        let joined = self.connection.joined.expect("acknowledged");
        self.client.first_join.get_or_insert(self.at);
        self.client.standing.knows();
        match (joined.recovery, self.client.kind) {
            (Recovery::Resumed { .. }, ClientKind::Aware) => Ok(()),
            (Recovery::Resumed { may_repeat: usize::MAX, .. }, ClientKind::Stock) if self.is_well => {
                Err(self
                    .violation("H2", "is told that any number of messages may come twice, and nothing was lost".into()))
            }
            (Recovery::Resumed { .. }, ClientKind::Stock) => {
                let from = joined.owed_from.expect("a position");
                let Some(received) = self.client.received.get(&from.epoch).copied() else {
                    return Err(self.violation("H2", format!("resumes from {from}, and has nothing of that history")));
                };
                let at = |offset| Position { offset, ..from };
                if let Some(missed) =
                    (received + 1..=from.offset).map(at).find(|missed| !self.ledger.leaves_out(*missed, self.number))
                {
                    return Err(self.violation("H2", format!("resumes from {from}, and lacks {missed}")));
                }
                self.client.last = Some(at(received.max(from.offset)));
                Ok(())
            }
            (recovery, kind) => {
                let last = self.client.last;
                if kind == ClientKind::Aware {
                    self.client.told(self.at, position);
                }
                match recovery {
                    Recovery::Gap(reason) if self.is_well && is_needless(reason) => {
                        Err(self
                            .violation("H1", format!("cannot resume from {last:?}, and nothing was lost: {reason}")))
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    fn message(self, number: usize, position: Option<Position>) -> Result<(), Violation> {
        let sent = self.ledger.message(number);
        if sent.is_forbidden(self.number, self.over) {
            return Err(self.violation("H5", format!("receives message {number}, which is not for it: {sent:?}")));
        }
        let is_aware = self.client.kind == ClientKind::Aware;
        if is_aware && sent.is_kept && !self.client.seen.insert(number) && !self.ledger.is_given_twice(number) {
            return Err(self.violation("H1", format!("receives message {number} twice, at {position:?}")));
        }
        if self.is_ordered
            && let Some((peer, at)) = sent.by
        {
            let newest = self.connection.newest.entry(peer).or_default();
            let (before, is_member) = (*newest, self.connection.acknowledged.is_some_and(|since| since <= at));
            *newest = number.max(before);
            if number < before && is_member {
                return Err(self.violation("H9", format!("receives message {number} of {peer} behind {before}")));
            }
        }
        let Some(position) = position else { return Ok(()) };
        self.ledger.check(position, number)?;
        let before = self.connection.last.replace(position);
        if before.is_some_and(|last| last.epoch == position.epoch && last.offset >= position.offset) {
            return Err(self.violation("H1", format!("receives {position} behind {before:?}")));
        }
        let rule = if is_aware { "H1" } else { "H2" };
        let Some(last) = self.client.last else {
            return Err(self.violation(rule, format!("receives {position}, and its join had no position")));
        };
        if last.epoch != position.epoch && self.ledger.is_of_one_node(position) {
            // Members are told when the store is back: then they may have missed messages of other nodes.
            return self.go_on(position);
        }
        if last.epoch != position.epoch {
            return Err(self.violation(rule, format!("is not told that {last} is of another history than {position}")));
        }
        if position.offset <= last.offset {
            return self.repeat(position, last);
        }
        let mut missed = (last.offset + 1..position.offset).map(|offset| Position { offset, ..last });
        if let Some(missed) = missed.find(|missed| !self.ledger.leaves_out(*missed, self.number)) {
            return Err(self.violation(rule, format!("receives {position} behind {last}, and not {missed}")));
        }
        self.go_on(position)
    }

    fn go_on(self, position: Position) -> Result<(), Violation> {
        self.client.last = Some(position);
        self.client.received.insert(position.epoch, position.offset);
        Ok(())
    }

    /// A message has come that the client has already received.
    fn repeat(self, position: Position, last: Position) -> Result<(), Violation> {
        self.connection.repeats += 1;
        let recovery = self.connection.joined.expect("acknowledged").recovery;
        match (self.client.kind, recovery) {
            (ClientKind::Stock, Recovery::Resumed { may_repeat, .. }) if self.connection.repeats <= may_repeat => {
                Ok(())
            }
            (ClientKind::Stock, Recovery::Resumed { .. }) => {
                Err(self.violation("H2", format!("receives {position} behind {last} again: {recovery:?}")))
            }
            // From before its join.
            (ClientKind::Stock, _) => Err(self.violation("H5", format!("joins at {last}, and receives {position}"))),
            (ClientKind::Aware, _) => Err(self.violation("H1", format!("receives {position} behind {last}"))),
        }
    }
}

/// Returns whether a reason for a gap can only be a fault.
fn is_needless(reason: GapReason) -> bool {
    !matches!(reason, GapReason::Trimmed | GapReason::Expired | GapReason::TooMany)
}

impl World {
    /// Lets clients receive what has arrived by now.
    pub(super) fn receive_all(&mut self) {
        for number in 0..self.histories().clients.len() {
            self.client_receives(number);
        }
    }

    pub(super) fn client_receives(&mut self, number: usize) {
        let (now, is_well) = (self.now, self.plan.is_well());
        let is_ordered = is_well && self.plan.ordered;
        let Histories { clients, connections, ledger, .. } = self.histories.as_mut().expect("there are histories");
        let client = &mut clients[number];
        let Some(over) = client.connection else { return };
        let connection = &mut connections[over];
        while let Some((at, frame)) = connection.receive(now) {
            self.trace.note(now, || format!("{} gets {frame:?} over {over}, sent to arrive at {at}", client.user));
            let receipt = Receipt { number, client, over, connection, ledger, at, is_well, is_ordered };
            if let Err(Violation { rule, what }) = receipt.apply(frame) {
                self.checker.violated(rule, what);
            }
        }
    }
}
