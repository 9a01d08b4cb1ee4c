//! The counts of what readers have received, and their table.

use std::collections::BTreeMap;

use crate::log::At;
use crate::reader::Kind;

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    /// Messages, each counted once.
    pub(crate) messages: u64,
    /// Lost connections that the reader has noticed.
    pub(crate) cuts: u64,
    /// Messages that did not come, although no gap was told.
    pub(crate) missing: u64,
    /// Messages that came twice, although they must not.
    pub(crate) repeats: u64,
    /// Messages in another order, or other messages than others have.
    pub(crate) disorder: u64,
    /// Messages that came again after the loss of a connection, because they were not proven.
    pub(crate) again: u64,
    /// The most of these after one loss.
    pub(crate) most_again: u64,
    /// Gaps that the client, or its join handler, was told of.
    pub(crate) gaps: u64,
    /// Joins after the first whose handler was told that the client is new.
    pub(crate) anew: u64,
    /// Lost connections ahead of which messages were left out and behind which no reply of the join handler came, so that nobody
    /// outside of the server knows what it was told.
    pub(crate) undecided: u64,
    /// Messages that came again behind a gap.
    pub(crate) behind_gap: u64,
    /// Messages without a position.
    pub(crate) unkept: u64,
    /// Events that the published client has dropped, and has reported so.
    pub(crate) lagged: u64,
    /// Each JOIN and LEAVE of another user.
    pub(crate) presence: u64,
    /// The last one.
    pub(crate) last_presence: Option<String>,
    /// Anything else that must not happen.
    pub(crate) troubles: u64,
    /// `true` if its node has begun to give positions without Redis, and the client is yet to be told of the gap.
    pub(crate) is_owed_notice: bool,
    /// The position of the last message that has one.
    pub(crate) last: Option<At>,
    /// The first fault.
    pub(crate) fault: Option<String>,
}

impl Tally {
    /// The number of times that the client was told that messages may be missing.
    pub(crate) fn told(&self) -> u64 {
        self.gaps + self.anew
    }

    /// The difference to an earlier tally.
    pub(crate) fn since(&self, before: &Tally) -> Tally {
        Tally {
            messages: self.messages - before.messages,
            cuts: self.cuts - before.cuts,
            missing: self.missing - before.missing,
            repeats: self.repeats - before.repeats,
            disorder: self.disorder - before.disorder,
            again: self.again - before.again,
            gaps: self.gaps - before.gaps,
            anew: self.anew - before.anew,
            undecided: self.undecided - before.undecided,
            behind_gap: self.behind_gap - before.behind_gap,
            unkept: self.unkept - before.unkept,
            lagged: self.lagged - before.lagged,
            presence: self.presence - before.presence,
            troubles: self.troubles - before.troubles,
            ..self.clone()
        }
    }

    fn add(&mut self, other: &Tally) {
        self.messages += other.messages;
        self.cuts += other.cuts;
        self.missing += other.missing;
        self.repeats += other.repeats;
        self.disorder += other.disorder;
        self.again += other.again;
        self.most_again = self.most_again.max(other.most_again);
        self.gaps += other.gaps;
        self.anew += other.anew;
        self.undecided += other.undecided;
        self.behind_gap += other.behind_gap;
        self.unkept += other.unkept;
        self.lagged += other.lagged;
        self.presence += other.presence;
        self.last_presence = other.last_presence.clone().or_else(|| self.last_presence.take());
        self.troubles += other.troubles;
    }

    pub(crate) fn sum<'a>(all: impl IntoIterator<Item = &'a Tally>) -> Tally {
        let mut sum = Tally::default();
        all.into_iter().for_each(|one| sum.add(one));
        sum
    }
}

/// The results of a form, by the kind of the readers.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) form: String,
    /// Messages that were sent and kept.
    pub(crate) sent: usize,
    pub(crate) rows: BTreeMap<Kind, (usize, Tally)>,
    /// Remarks, such as the number of faults.
    pub(crate) note: String,
}

impl Table {
    pub(crate) fn print_head() {
        println!(
            "\n{:24} {:>8} {:>9} {:>7} | {:>7} {:>7} {:>8} | {:>7} {:>4} {:>6} {:>4} {:>6} {:>6} {:>6} {:>10}",
            "",
            "readers",
            "received",
            "cuts",
            "missing",
            "repeats",
            "disorder",
            "again",
            "most",
            "gaps",
            "anew",
            "unsure",
            "behind",
            "lagged",
            "JOIN/LEAVE"
        );
    }

    pub(crate) fn print(&self) {
        println!("{}: {} messages sent, {}", self.form, self.sent, self.note);
        for (kind, (readers, it)) in &self.rows {
            println!(
                "  {:22} {readers:>8} {:>9} {:>7} | {:>7} {:>7} {:>8} | {:>7} {:>4} {:>6} {:>4} {:>6} {:>6} {:>6} {:>10}",
                kind.name(),
                it.messages,
                it.cuts,
                it.missing,
                it.repeats,
                it.disorder,
                it.again,
                it.most_again,
                it.gaps,
                it.anew,
                it.undecided,
                it.behind_gap,
                it.lagged,
                it.presence
            );
        }
    }
}
