//! The messages that a client has received, sorted by channel: plain data, without a socket or a clock.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use super::received::Received;

/// The most messages that a mailbox keeps. A test that leaves more unread fails, with a message that says so.
const KEPT: usize = 65_536;

/// The number of frames that a failure shows, and the number of bytes of each.
const SHOWN: usize = 16;
const SHOWN_BYTES: usize = 400;

/// Frames are sorted by the client's one reader as they come: answers to whoever asked, all else into the mailboxes
/// of its channel. So whoever waits for one thing takes away nothing that another waits for.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    mailboxes: HashMap<u64, Mailbox>,
    questions: HashMap<String, Question>,
    next_mailbox: u64,
    recent: Recent,
    end: Option<End>,
}

/// The unread messages of one channel. A channel may have several mailboxes: each gets every message.
#[derive(Debug)]
struct Mailbox {
    channel: String,
    open: bool,
    messages: VecDeque<Received>,
}

#[derive(Debug)]
struct Question {
    /// The mailbox that opens with the acknowledgement: for a join.
    opens: Option<u64>,
    answer: Option<Received>,
}

/// The end of a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Closed {
    /// The code of the server's close frame; `None` if it just ended.
    pub code: Option<u16>,
    /// The reason in it.
    pub reason: String,
}

/// The reason for which no more messages will come.
#[derive(Clone, Debug)]
pub(super) enum End {
    Closed(Closed),
    /// The server did what no client would stand, or the test does not read.
    Fault(String),
}

/// The frames that came last, for failures.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent {
    received: u64,
    last: VecDeque<String>,
}

impl Inbox {
    /// A mailbox that gets what comes for a channel from now on.
    pub(super) fn open(&mut self, channel: &str) -> u64 {
        self.add(channel, true)
    }

    /// A mailbox that gets what comes for a channel from the acknowledgement on which answers this request.
    pub(super) fn open_once_joined(&mut self, channel: &str, request_id: &str) -> u64 {
        let mailbox = self.add(channel, false);
        self.questions.insert(request_id.to_owned(), Question { opens: Some(mailbox), answer: None });
        mailbox
    }

    fn add(&mut self, channel: &str, open: bool) -> u64 {
        self.next_mailbox += 1;
        let mailbox = Mailbox { channel: channel.to_owned(), open, messages: VecDeque::new() };
        self.mailboxes.insert(self.next_mailbox, mailbox);
        self.next_mailbox
    }

    pub(super) fn close(&mut self, mailbox: u64) {
        self.mailboxes.remove(&mailbox);
    }

    /// The answer to this request is kept for [`answer`](Self::answer).
    pub(super) fn ask(&mut self, request_id: &str) {
        self.questions.insert(request_id.to_owned(), Question { opens: None, answer: None });
    }

    /// An answer is kept no longer: one that comes late is a message as any other.
    pub(super) fn forget(&mut self, request_id: &str) {
        self.questions.remove(request_id);
    }

    /// Takes the answer to a request, if it has come.
    pub(super) fn answer(&mut self, request_id: &str) -> Option<Received> {
        self.questions.get_mut(request_id)?.answer.take()
    }

    /// Takes the first unread message that is meant; those before it stay.
    pub(super) fn take(&mut self, mailbox: u64, is_meant: impl Fn(&Received) -> bool) -> Option<Received> {
        let messages = &mut self.mailboxes.get_mut(&mailbox)?.messages;
        let at = messages.iter().position(is_meant)?;
        messages.remove(at)
    }

    /// Sorts a frame. After a fault there is nothing more to sort.
    pub(super) fn receive(&mut self, text: &str) {
        self.recent.note(text);
        match Received::parse(text) {
            Ok(message) => self.sort(message),
            Err(fault) => self.end(End::Fault(format!("a client would reject the last message: {fault}"))),
        }
    }

    fn sort(&mut self, message: Received) {
        if let Some(question) = self.questions.get_mut(&message.request_id)
            && question.answer.is_none()
        {
            // Two messages answer a join of no channel; the second is the decline (docs/protocol.md, Declining).
            if question.opens.is_some() && message.is_system("NOT_FOUND") {
                return;
            }
            let opened = question.opens.filter(|_| message.is_system("ACKNOWLEDGE"));
            question.answer = Some(message);
            if let Some(mailbox) = opened.and_then(|mailbox| self.mailboxes.get_mut(&mailbox)) {
                mailbox.open = true;
            }
            return;
        }
        let meant = |mailbox: &&mut Mailbox| mailbox.open && mailbox.channel == message.channel;
        let mut full = false;
        for mailbox in self.mailboxes.values_mut().filter(meant) {
            mailbox.messages.push_back(message.clone());
            full |= mailbox.messages.len() > KEPT;
        }
        if full {
            self.end(End::Fault(format!("more than {KEPT} messages of `{}` are unread", message.channel)));
        }
    }

    /// Nothing more comes. The first reason counts.
    pub(super) fn end(&mut self, end: End) {
        self.end.get_or_insert(end);
    }

    pub(super) fn ended(&self) -> Option<&End> {
        self.end.as_ref()
    }

    pub(super) fn recent(&self) -> Recent {
        self.recent.clone()
    }
}

impl Recent {
    fn note(&mut self, text: &str) {
        self.received += 1;
        if self.last.len() == SHOWN {
            self.last.pop_front();
        }
        let shown = match text.char_indices().find(|(at, character)| at + character.len_utf8() > SHOWN_BYTES) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.to_owned(),
        };
        self.last.push_back(shown);
    }
}

impl fmt::Display for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.received == 0 {
            return f.write_str("  nothing was received");
        }
        write!(f, "  the last of {} messages received:", self.received)?;
        self.last.iter().try_for_each(|text| write!(f, "\n    {text}"))
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Fault(fault) => f.write_str(fault),
            End::Closed(Closed { code: None, .. }) => f.write_str("the connection ended without a close frame"),
            End::Closed(Closed { code: Some(code), reason }) => write!(f, "the server closed with {code} `{reason}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn receive(inbox: &mut Inbox, action: &str, event: &str, channel: &str, id: &str) {
        let text = json!({
            "action": action, "event": event, "channelName": channel, "requestId": id, "payload": {},
        });
        inbox.receive(&text.to_string());
    }

    fn unread(inbox: &mut Inbox, mailbox: u64) -> Vec<String> {
        std::iter::from_fn(|| inbox.take(mailbox, |_| true)).map(|message| message.event).collect()
    }

    #[test]
    fn a_mailbox_holds_its_channel_from_the_acknowledgement_on() {
        let mut inbox = Inbox::default();
        let first = inbox.open("/a");
        let second = inbox.open_once_joined("/a", "q1");
        let other = inbox.open("/b");
        receive(&mut inbox, "BROADCAST", "before", "/a", "x");
        receive(&mut inbox, "SYSTEM", "ACKNOWLEDGE", "/a", "q1");
        receive(&mut inbox, "BROADCAST", "after", "/a", "y");
        assert_eq!(inbox.answer("q1").map(|answer| answer.event).as_deref(), Some("ACKNOWLEDGE"));
        assert_eq!(unread(&mut inbox, first), ["before", "after"]);
        assert_eq!(unread(&mut inbox, second), ["after"]);
        assert!(unread(&mut inbox, other).is_empty());
    }

    #[test]
    fn a_join_of_no_channel_is_answered_by_the_decline() {
        let mut inbox = Inbox::default();
        let room = inbox.open_once_joined("/x", "q1");
        receive(&mut inbox, "SYSTEM", "NOT_FOUND", "/x", "q1");
        assert!(inbox.answer("q1").is_none());
        receive(&mut inbox, "SYSTEM", "UNAUTHORIZED", "/x", "q1");
        assert!(inbox.answer("q1").is_some_and(|answer| answer.is_error()));
        receive(&mut inbox, "BROADCAST", "said", "/x", "x");
        assert!(unread(&mut inbox, room).is_empty());
    }

    #[test]
    fn an_answer_that_nobody_waits_for_is_a_message() {
        let mut inbox = Inbox::default();
        let room = inbox.open("/a");
        inbox.ask("q1");
        inbox.ask("q2");
        inbox.forget("q2");
        receive(&mut inbox, "SYSTEM", "awaited", "/a", "q1");
        receive(&mut inbox, "SYSTEM", "late", "/a", "q2");
        receive(&mut inbox, "SYSTEM", "twice", "/a", "q1");
        assert_eq!(unread(&mut inbox, room), ["late", "twice"]);
    }

    #[test]
    fn what_comes_before_the_awaited_stays_in_order() {
        let mut inbox = Inbox::default();
        let room = inbox.open("/a");
        for event in ["one", "two", "three"] {
            receive(&mut inbox, "BROADCAST", event, "/a", event);
        }
        assert!(inbox.take(room, |message| message.event == "two").is_some());
        assert_eq!(unread(&mut inbox, room), ["one", "three"]);
    }

    #[test]
    fn what_the_strictest_client_rejects_is_the_end() {
        let mut inbox = Inbox::default();
        receive(&mut inbox, "HELLO", "x", "/a", "q");
        receive(&mut inbox, "HELLO", "y", "/a", "q");
        let end = inbox.ended().expect("a fault").to_string();
        assert_eq!(end, "a client would reject the last message: the action `HELLO`");
    }

    #[test]
    fn a_test_that_does_not_read_is_told_so() {
        let mut inbox = Inbox::default();
        inbox.open("/a");
        (0..=KEPT).for_each(|_| receive(&mut inbox, "BROADCAST", "flood", "/a", "x"));
        assert!(matches!(inbox.ended(), Some(End::Fault(fault)) if fault.contains("unread")));
    }

    #[test]
    fn a_failure_shows_the_last_frames_and_not_all_of_a_long_one() {
        let mut inbox = Inbox::default();
        assert_eq!(inbox.recent().to_string(), "  nothing was received");
        (0..SHOWN).for_each(|at| receive(&mut inbox, "BROADCAST", &format!("number{at}"), "/a", "x"));
        receive(&mut inbox, "BROADCAST", &"ä".repeat(500), "/a", "x");
        let shown = inbox.recent().to_string();
        assert!(shown.starts_with("  the last of 17 messages received:\n"), "{shown}");
        assert!(!shown.contains("number0") && shown.contains("number1\"") && shown.ends_with("ä…"), "{shown}");
    }
}
