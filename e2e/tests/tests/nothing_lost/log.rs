//! The record of a reader, checked against the rules as it grows.

use std::collections::{HashMap, VecDeque};
use std::fmt::{self, Debug, Formatter, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::reader::Kind;
use crate::tally::Tally;

/// The number of entries that are shown with a fault.
const CONTEXT: usize = 10;

/// The longest time for which messages may come until the join handler has replied, also on a machine that is busy.
const UNTIL_REPLY: Duration = Duration::from_secs(30);

/// The most messages in an epoch. A larger offset is nonsense.
const MAX_OFFSET: u64 = 100_000_000;

/// The name of an epoch.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub(crate) struct Epoch([u8; 11]);

impl Debug for Epoch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(&self.0).trim_end_matches('\0'))
    }
}

/// A position, read without the code under test.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub(crate) struct At {
    pub(crate) epoch: Epoch,
    pub(crate) offset: u64,
}

impl Debug for At {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}.{}", self.epoch, self.offset)
    }
}

impl At {
    /// `None` if the text is no position: a message that is not kept has another request id.
    pub(crate) fn read(text: &str) -> Option<At> {
        let (epoch, offset) = text.split_once('.')?;
        let mut name = [0; 11];
        name.get_mut(..epoch.len())?.copy_from_slice(epoch.as_bytes());
        let offset = offset.parse().ok().filter(|offset| *offset < MAX_OFFSET)?;
        Some(At { epoch: Epoch(name), offset })
    }

    fn next(self) -> At {
        At { offset: self.offset + 1, ..self }
    }
}

/// The number of a message: its publisher, the connection of the publisher, and its place among the messages of this one.
#[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Number {
    pub(crate) publisher: usize,
    /// From 1.
    pub(crate) connection: u64,
    pub(crate) nth: u64,
}

impl Debug for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.publisher, self.connection, self.nth)
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// A client that resumes was told where it is, with the reason if it may have missed something.
    Told {
        at: Option<At>,
        gap: Option<String>,
    },
    /// The join handler of a client with a session knows what happened. It replies behind what was replayed.
    Joined(Recovery),
    Message {
        at: Option<At>,
        number: Number,
    },
    /// The connection was lost. What a client with a session gets next may come again.
    Lost,
    /// The published client has dropped so many events, because its caller was too slow for them.
    Lagged(u64),
    /// A JOIN or a LEAVE.
    Presence {
        change: String,
        who: String,
    },
    /// Something that must not happen.
    Trouble(String),
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Recovery {
    /// Nothing is known of the client.
    New,
    Resumed {
        may_repeat: u64,
    },
    Gap(String),
}

/// The facts that the logs of all readers of a room have to agree about: the message at each position.
#[derive(Debug, Default)]
pub(crate) struct Common(Mutex<HashMap<Epoch, Vec<Number>>>);

impl Common {
    /// Returns `false` if another message is known at this position.
    fn agrees(&self, at: At, number: Number) -> bool {
        let mut epochs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let numbers = epochs.entry(at.epoch).or_default();
        let index = at.offset as usize;
        if numbers.len() <= index {
            numbers.resize(index + 1, Number::default());
        }
        let known = &mut numbers[index];
        if *known == Number::default() {
            *known = number;
        }
        *known == number
    }

    /// The number of messages that some reader has received.
    pub(crate) fn count(&self) -> usize {
        let epochs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        epochs.values().flatten().filter(|number| **number != Number::default()).count()
    }
}

/// The messages that a reader has received.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    common: Arc<Common>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tally: Tally,
    /// The next position, unless any may come.
    next: Option<At>,
    /// The connection of a client with a session was lost, and nothing has come since.
    may_go_back: bool,
    /// The same, and its join handler has not replied since.
    is_joining: bool,
    /// The time of the first message since then.
    joins_since: Option<Instant>,
    doubt: Option<Doubt>,
    /// The published client has dropped events on this connection.
    has_lagged: bool,
    /// The next one of the messages that come again.
    again_from: Option<At>,
    /// The messages that have come again since the last loss of the connection.
    again: u64,
    /// A message of a publisher that has not come or has come out of order, unless the reader is told of a gap behind it: while Redis is
    /// away, members lack what other nodes send, and learn it when Redis is back.
    unexplained: Option<String>,
    /// The same, found in the present entry.
    broken_run: Option<&'static str>,
    run: HashMap<(usize, u64), u64>,
    highest: HashMap<(usize, u64), u64>,
    newest: HashMap<usize, Number>,
    recent: VecDeque<Entry>,
    /// The number of entries that are yet to be shown with the fault.
    behind_fault: usize,
}

/// Messages that are missing if the join handler was not told of a gap.
#[derive(Debug)]
struct Doubt {
    missing: u64,
    fault: String,
    /// The messages that came are those of a node that is alone, which the client has known before. It has lacked what other nodes send
    /// since then, and is told when Redis is back.
    is_of_lone_node: bool,
}

impl Log {
    pub(crate) fn new(name: &str, kind: Kind, common: Arc<Common>) -> Log {
        Log { name: name.to_owned(), kind, common, state: Mutex::default() }
    }

    /// Records and checks an entry: positions go on one by one, except where the client was told of a gap, and within such a run
    /// so do the messages of each connection of a publisher. All readers have the same message at one position. A node that
    /// cannot reach Redis goes on in an epoch of its own, and tells its members when Redis is back.
    pub(crate) fn push(&self, entry: Entry) {
        let state = &mut *self.lock();
        state.recent.push_back(entry.clone());
        if state.recent.len() > CONTEXT {
            state.recent.pop_front();
        }
        let next = state.next;
        if state.behind_fault > 0
            && let Some(fault) = &mut state.tally.fault
        {
            state.behind_fault -= 1;
            // Writing into a string never fails.
            let _ = write!(fault, ", {entry:?}");
        }
        let checked = self.check(state, entry);
        let describe =
            |fault: &str, state: &State| format!("{}: {fault}; {next:?} was next; {:?}", self.name, state.recent);
        if let Err(fault) = checked
            && state.tally.fault.is_none()
        {
            state.tally.fault = Some(describe(&fault, state) + ", and then");
            state.behind_fault = CONTEXT;
        }
        if let Some(fault) = state.broken_run.take()
            && state.unexplained.is_none()
        {
            state.unexplained = Some(describe(fault, state));
        }
    }

    /// The messages of a publisher that are missing or out of order, and no gap explains.
    pub(crate) fn unexplained(&self) -> Option<String> {
        self.lock().unexplained.clone()
    }

    pub(crate) fn tally(&self) -> Tally {
        self.lock().tally.clone()
    }

    /// The number of messages that have come, those that came again included.
    pub(crate) fn received(&self) -> u64 {
        let state = self.lock();
        state.tally.messages + state.tally.again
    }

    /// The last kept message of each publisher.
    pub(crate) fn newest(&self) -> HashMap<usize, Number> {
        self.lock().newest.clone()
    }

    /// The last entries.
    pub(crate) fn recent(&self) -> String {
        format!("{:?}", self.lock().recent)
    }

    /// Returns `true` if it has not received anything since it was told of a gap.
    pub(crate) fn is_behind_gap(&self) -> bool {
        self.lock().next.is_none()
    }

    /// Returns `true` if its connection was lost and it is not known what the join handler was told since.
    pub(crate) fn is_joining(&self) -> bool {
        self.lock().is_joining
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, state: &mut State, entry: Entry) -> Result<(), String> {
        match entry {
            Entry::Trouble(what) => {
                state.tally.troubles += 1;
                return Err(what);
            }
            Entry::Told { at, gap } => {
                if gap.is_some() {
                    state.gap();
                }
                if gap.is_some() || state.next.is_none() {
                    state.next = at.map(At::next);
                }
            }
            Entry::Joined(recovery) => return state.joined(&recovery),
            Entry::Lost => {
                state.tally.cuts += 1;
                state.may_go_back = self.kind.resumes_by_session();
                state.is_joining = state.may_go_back;
                state.joins_since = None;
                state.has_lagged = false;
                state.drop_doubt();
                state.again_from = None;
                state.again = 0;
            }
            Entry::Lagged(events) => {
                state.tally.lagged += events;
                state.has_lagged = true;
                // The reply of the join handler may be one of them.
                state.is_joining = false;
                state.drop_doubt();
                state.begin_anew();
            }
            Entry::Presence { who, .. } if who == self.name => {}
            Entry::Presence { change, who } => {
                state.tally.presence += 1;
                state.tally.last_presence = Some(format!("{} sees {change} of {who}", self.name));
            }
            Entry::Message { at: None, number } => state.unkept(number),
            Entry::Message { at: Some(at), number } => {
                let agrees = self.common.agrees(at, number);
                let followed = state.message(at, number);
                if !agrees {
                    state.tally.disorder += 1;
                    return Err("another message than others have at this position".into());
                }
                return followed;
            }
        }
        Ok(())
    }
}

impl State {
    fn joined(&mut self, recovery: &Recovery) -> Result<(), String> {
        self.is_joining = false;
        let again = std::mem::take(&mut self.again);
        let doubt = self.doubt.take();
        let was_doubtful = doubt.is_some();
        match recovery {
            Recovery::Resumed { may_repeat } if again > *may_repeat => {
                self.tally.repeats += again - may_repeat;
                return Err(format!("{again} came again, and the join handler was told that {may_repeat} may"));
            }
            Recovery::Resumed { .. } => {
                if let Some(Doubt { missing, fault, is_of_lone_node }) = doubt {
                    if is_of_lone_node {
                        self.tally.is_owed_notice = true;
                    } else {
                        self.tally.missing += missing;
                        return Err(fault);
                    }
                }
            }
            Recovery::Gap(_) => self.tally.gaps += 1,
            Recovery::New => self.tally.anew += u64::from(self.tally.messages > 0),
        }
        match recovery {
            Recovery::Resumed { .. } => {}
            // What has come since is behind the gap.
            _ if was_doubtful => self.tally.is_owed_notice = false,
            _ => self.begin_anew(),
        }
        Ok(())
    }

    /// Counts a doubt that nothing can decide any more.
    fn drop_doubt(&mut self) {
        self.tally.undecided += u64::from(self.doubt.take().is_some());
    }

    fn gap(&mut self) {
        self.tally.gaps += 1;
        self.begin_anew();
    }

    /// Any position may come next.
    fn begin_anew(&mut self) {
        self.tally.is_owed_notice = false;
        self.may_go_back = false;
        self.again_from = None;
        self.next = None;
        self.run.clear();
        self.unexplained = None;
    }

    fn message(&mut self, at: At, number: Number) -> Result<(), String> {
        self.newest.insert(number.publisher, number);
        if self.is_joining && self.joins_since.get_or_insert_with(Instant::now).elapsed() > UNTIL_REPLY {
            self.is_joining = false;
            return Err("messages come, and the join handler has not replied".into());
        }
        let may_go_back = std::mem::take(&mut self.may_go_back);
        let is_behind = self.next.is_some_and(|next| next.epoch == at.epoch && next.offset > at.offset);
        if may_go_back && is_behind {
            self.again_from = Some(at);
        }
        if let Some(expected) = self.again_from {
            self.again_from = Some(at.next()).filter(|next| self.next != Some(*next));
            self.again += 1;
            self.tally.again += 1;
            self.tally.most_again = self.tally.most_again.max(self.again);
            if expected != at {
                self.tally.disorder += 1;
                return Err(format!("not {expected:?}, of what comes again"));
            }
            return Ok(());
        }
        if is_behind {
            self.tally.repeats += 1;
            return Err("it comes twice".into());
        }
        let followed = match self.next.replace(at.next()) {
            Some(next) if next.epoch != at.epoch && at.offset == 1 => {
                self.tally.is_owed_notice = true;
                self.run.clear();
                Ok(())
            }
            Some(next) if next != at => {
                let missing = if next.epoch == at.epoch { at.offset - next.offset } else { 1 };
                let fault = format!("not {next:?}, which is the next one");
                self.run.clear();
                if self.is_joining {
                    let is_of_lone_node = next.epoch != at.epoch;
                    self.doubt.get_or_insert(Doubt { missing, fault, is_of_lone_node });
                    Ok(())
                } else {
                    self.tally.missing += missing;
                    Err(fault)
                }
            }
            _ => Ok(()),
        };
        self.tally.messages += 1;
        self.tally.last = Some(at);
        self.follow_publisher(number);
        followed
    }

    /// A message that is not kept has its place among those of its publisher, but may be missing.
    fn unkept(&mut self, Number { publisher, connection, nth }: Number) {
        self.tally.unkept += 1;
        self.run.entry((publisher, connection)).and_modify(|before| *before = nth.max(*before));
    }

    /// The messages of a connection of a publisher go on one by one, too.
    fn follow_publisher(&mut self, Number { publisher, connection, nth }: Number) {
        let connection = (publisher, connection);
        let highest = self.highest.entry(connection).or_default();
        // What comes again behind events that the client has dropped cannot be told from what follows a gap.
        self.tally.behind_gap += u64::from(nth <= *highest && !self.has_lagged);
        *highest = nth.max(*highest);
        self.broken_run = match self.run.insert(connection, nth) {
            Some(before) if before + 1 < nth => Some("a message of a publisher is missing"),
            Some(before) if before + 1 > nth => Some("a message of a publisher comes in another order"),
            _ => None,
        };
    }
}
