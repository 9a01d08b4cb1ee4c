//! The drop policies: the frames that are dropped when the queue of a client is over its bounds.

use pondsocket_proto::channel::{DropPolicy, SlowClient};

use super::queue::{Bounds, FrameQueue, QueuedFrames};

/// The number of frames that were dropped to make room, by reason.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Dropped {
    pub(crate) outdated: usize,
    pub(crate) oldest: usize,
    pub(crate) newest: usize,
    /// Those that the history of their channel keeps. They are not lost: the client is caught up later.
    pub(crate) deferred: usize,
}

impl Dropped {
    pub(super) fn add(&mut self, more: Dropped) {
        self.outdated += more.outdated;
        self.oldest += more.oldest;
        self.newest += more.newest;
        self.deferred += more.deferred;
    }
}

impl FrameQueue {
    /// Drops frames until the queue is within its bounds: outdated presence, then broadcasts that are kept, in whose place
    /// holes stay, then the oldest of the other broadcasts with that policy, then the newest ones with that. A frame whose
    /// beginning was written stays.
    pub(super) fn shed(&mut self, bounds: Bounds) -> Dropped {
        self.split_started_frame();
        let all = self.frames();
        // Outdated presence goes even if that alone makes more room than needed: the client gains nothing by it. Under
        // `Disconnect` it counts like everything else, so that the client is given up as that policy promises.
        if bounds.policy != SlowClient::Disconnect {
            self.shed_outdated();
        }
        let outdated = all - self.frames();
        let deferred = self.defer_kept(bounds);
        let current = self.frames();
        self.shed_oldest(bounds);
        let wanted = self.frames();
        self.shed_newest(bounds);
        self.remove_empty();
        Dropped { outdated, deferred, oldest: current - wanted, newest: wanted - self.frames() }
    }

    /// The policy of broadcasts that are not kept.
    fn policy(&self, at: usize, bounds: Bounds) -> Option<SlowClient> {
        match self.entries[at].drop_policy {
            _ if self.entries[at].kept.is_some() => None,
            DropPolicy::SlowClient(policy) => Some(policy.unwrap_or(bounds.policy)),
            DropPolicy::Never | DropPolicy::Outdated | DropPolicy::Partial => None,
        }
    }

    /// Drops presence that a newer whole list of the same channel follows. From the back, so that one pass sees for each
    /// entry whether there is such a list behind it.
    fn shed_outdated(&mut self) {
        let mut newer = Vec::new();
        for at in (0..self.entries.len()).rev() {
            let QueuedFrames { drop_policy, channel, .. } = self.entries[at];
            let has_newer = newer.contains(&channel);
            let keep = match drop_policy {
                DropPolicy::Outdated => u32::from(!has_newer),
                DropPolicy::Partial if has_newer => 0,
                DropPolicy::Partial | DropPolicy::Never | DropPolicy::SlowClient(_) => continue,
            };
            while self.entries[at].frames > keep {
                self.drop_first_frame(at);
            }
            if drop_policy == DropPolicy::Outdated && !has_newer {
                newer.push(channel);
            }
        }
    }

    fn shed_oldest(&mut self, bounds: Bounds) {
        for at in 0..self.entries.len() {
            if self.policy(at, bounds) == Some(SlowClient::DropOldest) {
                while self.is_over(bounds) && self.entries[at].frames > 0 {
                    self.drop_first_frame(at);
                }
            }
        }
    }

    fn shed_newest(&mut self, bounds: Bounds) {
        for at in (0..self.entries.len()).rev() {
            if self.is_over(bounds) && self.policy(at, bounds) == Some(SlowClient::DropNewest) {
                self.drop_last_frames(at, bounds);
            }
        }
    }

    fn drop_first_frame(&mut self, at: usize) {
        let bytes = self.framing.frame_len(&self.entries[at].bytes);
        self.drop_front(at, 1, bytes);
    }

    /// Drops frames off the end of an entry until the queue is within its bounds. Frames can be told apart from the front only, so
    /// the beginnings of all of them are looked up first.
    pub(super) fn drop_last_frames(&mut self, at: usize, bounds: Bounds) {
        let (bytes, framing) = (self.entries[at].bytes.clone(), self.framing);
        let next =
            |start: &usize| Some(*start + framing.frame_len(&bytes[*start..])).filter(|next| *next < bytes.len());
        let mut starts: Vec<_> = std::iter::successors(Some(0), next).collect();
        let mut end = bytes.len();
        while self.is_over(bounds)
            && let Some(start) = starts.pop()
        {
            self.drop_back(at, 1, end - start);
            end = start;
        }
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use pondsocket_proto::channel::Run;
    use proptest::prelude::*;

    use super::*;
    use crate::engine::framing::Framing;
    use crate::engine::outbox::Pushed;
    use crate::engine::outbox::fixture::{
        BOUNDS, PACING, Step, advance, any_step, deliver, event, frame, numbered, outbox, outbox_of_a_body, queued,
        send, source, start, texts,
    };

    #[test]
    fn presence_without_the_whole_list_makes_nothing_outdated() {
        let mut outbox = outbox();
        deliver(&mut outbox, 1, &["p1"], DropPolicy::Partial, SlowClient::DropNewest);
        deliver(&mut outbox, 1, &["whole"], DropPolicy::Outdated, SlowClient::DropNewest);
        deliver(&mut outbox, 1, &["p2", "p3", "p4"], DropPolicy::Partial, SlowClient::DropNewest);
        let pushed = deliver(&mut outbox, 2, &["p5"], DropPolicy::Partial, SlowClient::DropNewest);
        assert_eq!(pushed.dropped, Dropped::default());
        assert_eq!(texts(&outbox), "whole p2 p3 p4 p5", "what was before the list is outdated by it");
    }

    #[test]
    fn a_client_without_backlog_loses_nothing_of_a_large_batch() {
        for policy in [SlowClient::DropOldest, SlowClient::DropNewest] {
            let mut outbox = outbox();
            let pushed = deliver(&mut outbox, 1, &["x"; 40], DropPolicy::SlowClient(None), policy);
            assert_eq!((pushed.dropped, pushed.depth), (Dropped::default(), 40));
            let pushed = deliver(&mut outbox, 1, &["y"], DropPolicy::SlowClient(None), policy);
            let Dropped { oldest, newest, .. } = pushed.dropped;
            assert_eq!((oldest + newest, pushed.depth), (37, 4), "but what comes behind it finds it waiting");
        }
    }

    #[test]
    fn the_oldest_broadcasts_are_dropped_and_necessary_frames_are_kept() {
        let (mut outbox, oldest) = (outbox(), DropPolicy::SlowClient(Some(SlowClient::DropOldest)));
        send(&mut outbox, frame("ack"));
        deliver(&mut outbox, 1, &["1", "2"], oldest, SlowClient::Disconnect);
        let pushed = deliver(&mut outbox, 1, &["3", "4", "5"], DropPolicy::SlowClient(None), SlowClient::DropOldest);
        let dropped = Dropped { oldest: 2, ..Dropped::default() };
        assert_eq!((texts(&outbox).as_str(), pushed.dropped, pushed.depth), ("ack 3 4 5", dropped, 4));
        send(&mut outbox, frame("reply"));
        assert_eq!(texts(&outbox), "ack 3 4 5 reply", "those have no policy of their own, and this is not dropped");
    }

    #[test]
    fn the_newest_broadcast_is_dropped_while_the_outbox_is_full() {
        let (mut outbox, newest) = (outbox(), DropPolicy::SlowClient(Some(SlowClient::DropNewest)));
        deliver(&mut outbox, 1, &["1", "2"], newest, SlowClient::Disconnect);
        let pushed = deliver(&mut outbox, 1, &["3", "4", "5"], newest, SlowClient::Disconnect);
        let dropped = Dropped { newest: 1, ..Dropped::default() };
        assert_eq!((texts(&outbox).as_str(), pushed.dropped), ("1 2 3 4", dropped));
        deliver(&mut outbox, 1, &["6"], newest, SlowClient::Disconnect);
        assert_eq!(texts(&outbox), "1 2 3 4");
        advance(&mut outbox, frame("1").len());
        deliver(&mut outbox, 1, &["7"], newest, SlowClient::Disconnect);
        assert_eq!(texts(&outbox), "2 3 4 7");
    }

    #[test]
    fn presence_is_dropped_only_if_a_newer_list_of_its_channel_follows() {
        let mut outbox = outbox();
        deliver(&mut outbox, 1, &["a1", "a2"], DropPolicy::Outdated, SlowClient::DropNewest);
        deliver(&mut outbox, 2, &["b1"], DropPolicy::Outdated, SlowClient::DropNewest);
        deliver(&mut outbox, 1, &["x"], DropPolicy::SlowClient(None), SlowClient::DropNewest);
        assert_eq!(texts(&outbox), "a1 a2 b1 x", "nothing is dropped while there is room");
        let pushed = deliver(&mut outbox, 1, &["a3"], DropPolicy::Outdated, SlowClient::DropNewest);
        let dropped = Dropped { outdated: 2, ..Dropped::default() };
        assert_eq!((texts(&outbox).as_str(), pushed.dropped), ("b1 x a3", dropped));
    }

    #[test]
    fn a_frame_that_was_begun_is_not_dropped() {
        for policy in [SlowClient::DropOldest, SlowClient::DropNewest] {
            let mut outbox = outbox();
            let broadcast = DropPolicy::SlowClient(None);
            deliver(&mut outbox, 1, &["1", "2", "3", "4"], broadcast, policy);
            advance(&mut outbox, 1);
            deliver(&mut outbox, 1, &["5"], broadcast, policy);
            let expected = if policy == SlowClient::DropOldest { "3 4 5" } else { "2 3 4" };
            assert_eq!((texts(&outbox).as_str(), outbox.queue.started), (expected, 2));
            advance(&mut outbox, 2);
            assert_eq!((texts(&outbox).as_str(), outbox.queue.frames()), (expected, 3));
        }
    }

    #[test]
    fn events_are_dropped_whole_like_frames() {
        let mut outbox = outbox_of_a_body();
        for text in ["1", "22", "333", "4444", "55555"] {
            let (buffer, drop_policy) = (event(text), DropPolicy::SlowClient(Some(SlowClient::DropOldest)));
            outbox
                .deliver(
                    source(1),
                    &[Run { range: 0..buffer.len(), buffer, frames: 1, drop_policy, kept: None }],
                    BOUNDS,
                    start,
                )
                .expect("not given up");
        }
        let expected: Vec<_> = ["22", "333", "4444", "55555"].iter().flat_map(|text| event(text).to_vec()).collect();
        assert_eq!((outbox.queue.frames(), queued(&outbox)), (4, expected));
    }

    proptest! {
        /// The client reads whole frames in their order. Only droppable frames are missing, and a frame of presence only if
        /// a newer complete list of the same channel is behind it.
        #[test]
        fn received_frames_are_whole_and_in_order_and_only_droppable_ones_are_missing(
            steps in prop::collection::vec(any_step(), 1..60),
            policy in prop_oneof![Just(SlowClient::DropOldest), Just(SlowClient::DropNewest)],
        ) {
            let (mut outbox, bounds) = (outbox(), Bounds { frames: 8, bytes: 200, policy, ..BOUNDS });
            let (mut sent, mut read, mut dropped, mut now) = (Vec::new(), Vec::new(), 0, start());
            for step in steps {
                // No channel waits for this client.
                now += PACING.wait;
                let pushed = match step {
                    Step::Deliver { channel, frames, drop_policy } => {
                        let run = numbered(&mut sent, channel, frames, drop_policy, Framing::Plain);
                        outbox.deliver(source(channel), &[run], bounds, || now)
                    }
                    Step::Send => {
                        sent.push((0, DropPolicy::Never));
                        Ok(outbox.send(frame(&(sent.len() - 1).to_string()), bounds, || now))
                    }
                    Step::Take(share) => {
                        let bytes = queued(&outbox);
                        let taken = bytes.len() * share / 1000;
                        read.extend_from_slice(&bytes[..taken]);
                        outbox.advance(taken, bounds, now);
                        Ok(Pushed::default())
                    }
                };
                let Ok(Pushed { dropped: lost, behind, .. }) = pushed else { return Ok(()) };
                prop_assert!(!behind);
                dropped += lost.outdated + lost.oldest + lost.newest;
                prop_assert_eq!(outbox.queue.bytes(), queued(&outbox).len());
                prop_assert_eq!(outbox.queue.frames(), outbox.queue.entries.iter().map(|entry| entry.frames as usize).sum::<usize>());
            }
            read.extend(queued(&outbox));
            let mut arrived = Vec::new();
            let mut rest = &read[..];
            while !rest.is_empty() {
                let len = Framing::Plain.frame_len(rest);
                arrived.push(str::from_utf8(&rest[2..len]).expect("text").parse::<usize>().expect("a number"));
                rest = &rest[len..];
            }
            prop_assert!(arrived.is_sorted_by(|a, b| a < b), "{:?}", arrived);
            prop_assert_eq!(arrived.len() + dropped, sent.len());
            for (number, (channel, drop_policy)) in sent.iter().enumerate().filter(|(number, _)| !arrived.contains(number)) {
                let has_newer = || arrived.iter().any(|other| *other > number && sent[*other] == (*channel, DropPolicy::Outdated));
                match drop_policy {
                    DropPolicy::Never | DropPolicy::SlowClient(Some(SlowClient::Disconnect)) => prop_assert!(false, "{} is lost", number),
                    DropPolicy::Outdated | DropPolicy::Partial => prop_assert!(has_newer(), "{} was not outdated", number),
                    DropPolicy::SlowClient(_) => {}
                }
            }
        }
    }
}
