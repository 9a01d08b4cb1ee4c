//! Lives that call themselves newer than one that holds a lease (docs/cluster.md, Lives of one name). They may be what they
//! say, or stray, or forged: the table of leases is asked, and until it names them nothing that they say of users counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::core::Core;
use super::message::{Body, Ext};
use super::record::At;
use super::{ChannelKey, NodeId, Output};

/// How many channels are remembered for one name. With more, all are taken for concerned.
const MOST_CHANNELS: usize = 64;

/// Where lives that did not count yet have said something.
#[derive(Debug, Default)]
pub(super) struct Contested {
    /// By the name of a node that is known, so that there are no more of them than of these.
    missed: BTreeMap<Arc<str>, Missed>,
    /// The time of the last question to the table of leases.
    looked: Option<u64>,
}

#[derive(Debug, Default)]
struct Missed {
    channels: BTreeSet<ChannelKey>,
    /// There were more channels than are remembered.
    more: bool,
}

impl Contested {
    pub(super) fn forget(&mut self, name: &str) {
        self.missed.remove(name);
    }
}

impl Core {
    /// A life calls itself newer than the one that holds a lease.
    pub(super) fn contest(&mut self, id: NodeId) {
        self.contested.missed.entry(id.name).or_default();
        self.look_at_leases();
    }

    /// Has the table of leases asked before it is time to.
    pub(super) fn look_at_leases(&mut self) {
        // Strangers must not make this node beat more often than twice as much.
        let (now, beat) = (self.now(), self.settings.beat);
        if self.contested.looked.is_none_or(|looked| now >= looked + beat) {
            self.contested.looked = Some(now);
            self.voice.output(Output::Look);
        }
    }

    /// A life that does not count has said something. If it may be the node soon it is told what it asks for, and where it
    /// has spoken is remembered.
    pub(super) fn pretender_says(&mut self, ext: Ext, channel: Option<ChannelKey>, body: &Body) {
        if !self.contested.missed.contains_key(&ext.node.name) || !self.nodes.may_follow(&ext.node) {
            return;
        }
        match (&channel, body) {
            (None, Body::Repair(channels)) => self.owe(&ext.node, channels.iter().cloned()),
            (Some(key), Body::StateRequest { .. } | Body::Digest { .. }) => self.owe_what_lacks(key, &ext),
            _ => {}
        }
        let states = match body {
            Body::State(states) => states.iter().map(|state| state.channel.clone()).collect(),
            _ => Vec::new(),
        };
        let concerned = channel.into_iter().chain(states).filter(|key| self.channels.contains_key(key));
        if let Some(missed) = self.contested.missed.get_mut(&ext.node.name) {
            missed.channels.extend(concerned);
            missed.more |= missed.channels.len() > MOST_CHANNELS;
            while missed.channels.len() > MOST_CHANNELS {
                missed.channels.pop_last();
            }
        }
    }

    /// A node lives: if it has said something before it counted it is asked to say it again.
    pub(super) fn catch_up(&mut self, id: &NodeId) {
        let Some(missed) = self.contested.missed.remove(&id.name) else { return };
        let all = missed.more.then(|| self.channels.keys().cloned().collect());
        let at = At { incarnation: id.incarnation, version: 0 };
        for key in all.unwrap_or(missed.channels) {
            let Some(channel) = self.channels.get_mut(&key) else { continue };
            let ended = channel.merge(id, self.voice.now, |record| record.expect(at));
            self.changed(&key, ended);
            self.check_repair(&key, &id.name);
        }
    }
}
