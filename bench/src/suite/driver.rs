//! Clients that publish, on a schedule or as fast as their messages come back.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bench::wire::client as wire;

use crate::load::{ClientPool, ClientSpec, Transport};

/// A client that publishes into one channel.
pub(super) struct Publisher {
    pub(super) client: usize,
    pub(super) channel: String,
    pub(super) sent: u64,
}

/// The kind of messages of publishers.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum MessageKind {
    Publish,
    Echo,
}

/// Clients, with the publishers among them.
pub(super) struct LoadDriver {
    pub(super) pool: ClientPool,
    pub(super) publishers: Vec<Publisher>,
    /// The publishers that each client receives.
    pub(super) subscriptions: Vec<std::ops::Range<usize>>,
    pub(super) kind: MessageKind,
    pub(super) size: usize,
}

impl LoadDriver {
    /// Without clients.
    pub(super) fn new(pool: ClientPool, size: usize) -> LoadDriver {
        LoadDriver { pool, publishers: Vec::new(), subscriptions: Vec::new(), kind: MessageKind::Publish, size }
    }

    /// Adds the members of a room, the first of which publish, to the specs of all clients. Over event streams publishers have a
    /// WebSocket.
    pub(super) fn add_room(
        &mut self,
        specs: &mut Vec<ClientSpec>,
        member: &ClientSpec,
        members: usize,
        publishers: usize,
    ) {
        let first = self.publishers.len();
        for index in 0..members {
            let mut spec = member.clone();
            if index < publishers {
                let channel = spec.channels[0].clone();
                self.publishers.push(Publisher { client: specs.len(), channel, sent: 0 });
                if spec.transport == Transport::EventStream {
                    spec.transport = Transport::Plain;
                }
            }
            self.subscriptions.push(first..first + publishers);
            specs.push(spec);
        }
    }

    /// Sends the next message of a publisher, which was due at this time.
    fn send(&mut self, publisher: usize, due: Instant) -> Result<()> {
        let Publisher { client, channel, sent } = &mut self.publishers[publisher];
        let (dialect, payload) = (self.pool.dialect(*client), wire::payload(publisher, *sent, self.size));
        let text = match self.kind {
            MessageKind::Publish => dialect.publish(channel, *sent, &payload),
            MessageKind::Echo => dialect.echo(channel, *sent, &payload),
        };
        *sent += 1;
        self.pool.recorder().due(publisher, due);
        self.pool.send(*client, &wire::text(&text))
    }

    /// Sends on a schedule that does not depend on the server. A message that could not be sent in time is sent as soon as
    /// possible, and its latency counts from when it was due.
    pub(super) fn pace(&mut self, every: Duration, end: Instant) -> Result<()> {
        self.pace_while(every, |_, next| next < end)
    }

    /// The same as long as `continues`, which gets the time at which the next message is due.
    pub(super) fn pace_while(
        &mut self,
        every: Duration,
        mut continues: impl FnMut(&mut LoadDriver, Instant) -> bool,
    ) -> Result<()> {
        let mut next = Instant::now();
        while continues(self, next) {
            if Instant::now() >= next {
                for publisher in 0..self.publishers.len() {
                    self.send(publisher, next)?;
                }
                next += every;
            }
            self.poll_until(next)?;
        }
        Ok(())
    }

    /// Sends the messages of all publishers in each interval, one after the other, as long as `continues`.
    pub(super) fn pace_in_turn(
        &mut self,
        every: Duration,
        mut continues: impl FnMut(&mut LoadDriver, Instant) -> bool,
    ) -> Result<()> {
        let (publishers, mut next, mut turn) = (self.publishers.len(), Instant::now(), 0);
        while continues(self, next) {
            self.poll_until(next)?;
            if Instant::now() >= next {
                self.send(turn % publishers, next)?;
                turn += 1;
                next += every / publishers as u32;
            }
        }
        Ok(())
    }

    /// Handles what arrives, up to a time.
    fn poll_until(&mut self, time: Instant) -> Result<()> {
        // A poll may last for a millisecond more than it should, which would count as latency.
        self.pool.poll(time.saturating_duration_since(Instant::now()).saturating_sub(Duration::from_millis(2)))
    }

    /// Sends as long as fewer than `window` of a publisher's own messages have not come back.
    pub(super) fn saturate(&mut self, window: u64, end: Instant) -> Result<()> {
        while Instant::now() < end {
            self.send_within(window, u64::MAX)?;
            self.pool.poll(Duration::from_millis(10))?;
        }
        Ok(())
    }

    /// Lets each publisher send until it has sent `messages` in all, and waits until all have arrived.
    pub(super) fn publish(&mut self, window: u64, messages: u64) -> Result<()> {
        while self.publishers.iter().any(|publisher| publisher.sent < messages) {
            self.send_within(window, messages)?;
            self.pool.poll(Duration::from_millis(10))?;
        }
        let lost = self.settle()?;
        ensure!(lost == 0, "{lost} messages did not arrive");
        Ok(())
    }

    /// Sends what has room in the windows of the publishers, up to `most` messages of each in all.
    fn send_within(&mut self, window: u64, most: u64) -> Result<()> {
        for publisher in 0..self.publishers.len() {
            loop {
                let (client, sent) = (self.publishers[publisher].client, self.publishers[publisher].sent);
                if sent >= most || sent - self.pool.clients()[client].deliveries.of(publisher).min(sent) >= window {
                    break;
                }
                self.send(publisher, Instant::now())?;
            }
        }
        Ok(())
    }

    /// Waits for messages in flight, and returns the number of messages that did not arrive.
    pub(super) fn settle(&mut self) -> Result<u64> {
        let LoadDriver { pool, publishers, subscriptions, .. } = self;
        pool.settle(|client| publishers[subscriptions[client].clone()].iter().map(|publisher| publisher.sent).sum())
    }
}
