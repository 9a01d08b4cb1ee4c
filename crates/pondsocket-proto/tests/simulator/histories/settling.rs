//! The end of a schedule: everything arrives, and then nobody waits for anything, and all clients have the same.

use pondsocket_proto::channel::LocalTarget;
use pondsocket_proto::cluster::{ChannelKey, Input};

use super::super::redis::Peer;
use super::super::world::World;
use super::Histories;
use super::client::HistoryClient;
use super::ledger::{LeftOut, NEWS};

const SECOND: u64 = 1000;

impl World {
    /// Clients come back, and each channel gets a last message from each node. A node that has missed something without
    /// knowing finds it out with that.
    pub(crate) fn histories_settle(&mut self) {
        if self.histories.is_none() {
            return;
        }
        self.run_until(self.now + 5 * SECOND);
        for number in 0..self.histories().clients.len() {
            self.client_receives(number);
            if self.histories().clients[number].connection.is_none() {
                self.client_connects(number, None);
            }
        }
        self.run_until(self.now + 5 * SECOND);
        let open = |(peer, node): (&Peer, &super::HistoryNode)| {
            node.open.keys().map(|key| (*peer, key.clone())).collect::<Vec<_>>()
        };
        let open: Vec<(Peer, ChannelKey)> = self.histories().nodes.iter().flat_map(open).collect();
        for (peer, key) in open {
            self.send_event(peer, &key, None, (LocalTarget::All, LeftOut::Nobody), NEWS);
            self.run_until(self.now + SECOND);
        }
        self.run_until(self.now + 6 * SECOND);
        self.receive_all();
        if self.checker.is_content()
            && let Some(what) = self.unsettled()
        {
            self.checker.violated("H8", what);
        }
        self.end_histories();
    }

    /// The first thing that is not as it should be.
    fn unsettled(&mut self) -> Option<String> {
        let Histories { nodes, clients, ledger, .. } = self.histories.as_ref().expect("there are histories");
        for (peer, node) in nodes {
            if !node.appends.is_empty() {
                return Some(format!("{peer} has messages for the store"));
            }
            for (key, open) in &node.open {
                let (channel, name) = (&open.channel, &key.channel);
                if channel.awaits_positions() || channel.is_behind() || channel.is_loading() || channel.is_detached() {
                    let states = (channel.awaits_positions(), channel.is_behind(), channel.is_loading());
                    return Some(format!("{peer} waits in {name} at {}: {states:?}", open.position()));
                }
                if Some(open.position()) != self.redis.histories.top(key) {
                    return Some(format!("{peer} is at {} in {name}", open.position()));
                }
            }
        }
        for (number, client) in clients.iter().enumerate() {
            let HistoryClient { key, user, last, told_at, first_join, .. } = client;
            let (Some(top), Some(_)) = (self.redis.histories.top(key), client.connection) else {
                return Some(format!("{user} is not connected, or its channel has no history"));
            };
            let Some(last) = last.filter(|last| last.epoch == top.epoch) else {
                return Some(format!("{user} has {last:?} of {top}"));
            };
            let mut missing = (last.offset + 1..=top.offset).map(|offset| super::ledger::at(top.epoch, offset));
            if let Some(missing) = missing.find(|missing| !ledger.leaves_out(*missing, number)) {
                return Some(format!("{user} has {last} of {top}, and lacks {missing}"));
            }
            // Members of other nodes have missed what a node has sent without the store.
            let is_owed_notice = ledger.detached.values().find(|detached| {
                let is_open = nodes.get(&detached.peer).and_then(|node| node.open.get(&detached.key));
                detached.key == *key
                    && detached.has_sent
                    && is_open.is_some_and(|open| open.serial == detached.serial)
                    && first_join.is_some_and(|joined| joined < detached.since)
                    && *told_at < detached.since
            });
            if let Some(detached) = is_owed_notice {
                return Some(format!("{user} is not told that {} has sent messages without the store", detached.peer));
            }
        }
        None
    }

    /// Closes all channels.
    fn end_histories(&mut self) {
        self.histories().is_over = true;
        let nodes = std::mem::take(&mut self.histories().nodes);
        for (peer, node) in nodes {
            for (channel, open) in node.open {
                self.feed(peer, Input::Closed { channel, instance: open.serial });
            }
        }
    }
}
