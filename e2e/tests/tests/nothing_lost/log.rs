//! The record of a reader, and the rules that it must obey.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A position, read without the code under test.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct At {
    pub(crate) epoch: String,
    pub(crate) offset: u64,
}

impl At {
    /// `None` if the text is no position: a message that is not kept has another request id.
    pub(crate) fn read(text: &str) -> Option<At> {
        let (epoch, offset) = text.split_once('.')?;
        Some(At { epoch: epoch.to_owned(), offset: offset.parse().ok()? })
    }
}

/// The number of a message: its publisher, the connection of the publisher, and its place among the messages of this one.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Number {
    pub(crate) publisher: usize,
    pub(crate) connection: u64,
    pub(crate) nth: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// The client was told where it is, with the reason if it may have missed something.
    Told {
        at: Option<At>,
        gap: Option<String>,
    },
    Message {
        at: Option<At>,
        number: Number,
    },
    /// Something that must not happen.
    Trouble(String),
}

/// The messages that a reader has received.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) name: String,
    entries: Mutex<Vec<Entry>>,
}

/// The facts that the logs of all readers have to agree about.
#[derive(Debug, Default)]
pub(crate) struct Common {
    numbers: HashMap<At, Number>,
}

/// The result of the check of a log.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Summary {
    pub(crate) messages: usize,
    /// The number of gaps that the client was told of.
    pub(crate) gaps: usize,
    /// Messages without a position.
    pub(crate) unkept: usize,
    /// Messages that have come again behind a gap.
    pub(crate) repeats: usize,
    /// `true` if its node has begun to give positions without Redis, and the client is yet to be told of the gap.
    pub(crate) is_owed_notice: bool,
    /// The position of the last message that has one.
    pub(crate) last: Option<At>,
}

impl Log {
    pub(crate) fn new(name: &str) -> Log {
        Log { name: name.to_owned(), entries: Mutex::default() }
    }

    pub(crate) fn push(&self, entry: Entry) {
        self.lock().push(entry);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last kept message of each publisher.
    pub(crate) fn newest(&self) -> HashMap<usize, Number> {
        let kept = |entry: &Entry| match entry {
            Entry::Message { at: Some(_), number } => Some((number.publisher, *number)),
            _ => None,
        };
        self.lock().iter().filter_map(kept).collect()
    }

    /// Checks all that was received: positions go on one by one, except where the client was told of a gap, and within such a run
    /// so do the messages of each connection of a publisher. All readers have the same message at one position. A node that
    /// cannot reach Redis goes on in an epoch of its own, and tells its members when Redis is back.
    pub(crate) fn check(&self, common: &mut Common) -> Result<Summary, String> {
        let mut summary = Summary::default();
        let mut next: Option<At> = None;
        let mut run: HashMap<(usize, u64), u64> = HashMap::new();
        let mut highest: HashMap<(usize, u64), u64> = HashMap::new();
        let entries = self.lock().clone();
        for (line, entry) in entries.iter().enumerate() {
            let fault = |what: &str| {
                let around = &entries[line.saturating_sub(6)..entries.len().min(line + 4)];
                Err(format!("{}: {what}: {entry:?}, expected {next:?}, in {around:#?}", self.name))
            };
            match entry {
                Entry::Trouble(what) => return fault(what),
                Entry::Told { at, gap } => {
                    if gap.is_some() {
                        summary.gaps += 1;
                        summary.is_owed_notice = false;
                        run.clear();
                    }
                    if gap.is_some() || next.is_none() {
                        next = at.clone().map(|at| At { offset: at.offset + 1, ..at });
                    }
                }
                Entry::Message { at: None, .. } => summary.unkept += 1,
                Entry::Message { at: Some(at), number } => {
                    match &next {
                        Some(next) if next.epoch != at.epoch && at.offset == 1 => {
                            summary.is_owed_notice = true;
                            run.clear();
                        }
                        Some(next) if next != at => return fault("not the next position"),
                        _ => {}
                    }
                    if *common.numbers.entry(at.clone()).or_insert(*number) != *number {
                        return fault("another message than others have at this position");
                    }
                    let connection = (number.publisher, number.connection);
                    if run.insert(connection, number.nth).is_some_and(|before| before + 1 != number.nth) {
                        return fault("a message of a publisher is missing, or comes in another order");
                    }
                    let highest = highest.entry(connection).or_default();
                    summary.repeats += usize::from(number.nth <= *highest);
                    *highest = number.nth.max(*highest);
                    summary.messages += 1;
                    summary.last = Some(at.clone());
                    next = Some(At { epoch: at.epoch.clone(), offset: at.offset + 1 });
                }
            }
        }
        Ok(summary)
    }
}
