//! Nodes of the languages whose servers are not to be had as packages, over the real Redis: what they say, and whether
//! they would take what our nodes say. Each of the 13 types of message in both directions.

mod hears;
mod says;
mod stage;
mod stranger;
mod strict;

use std::fmt;
use std::sync::Arc;

use crate::matrix::Case;
use crate::node::{OUR_NAMES, Place};
use crate::redis::Redis;
use stage::Stage;

/// All types that nodes of other languages know.
const TYPES: [&str; 13] = [
    "USER_MESSAGE",
    "PRESENCE_UPDATE",
    "PRESENCE_REMOVED",
    "ASSIGNS_UPDATE",
    "EVICT_USER",
    "USER_REMOVE",
    "USER_GET_REQUEST",
    "USER_GET_RESPONSE",
    "USER_JOINED",
    "USER_LEFT",
    "STATE_REQUEST",
    "STATE_RESPONSE",
    "NODE_HEARTBEAT",
];

/// Whose node is played.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Flavour {
    JavaScript,
    Go,
}

const FLAVOURS: [Flavour; 2] = [Flavour::JavaScript, Flavour::Go];

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flavour::JavaScript => "javascript",
            Flavour::Go => "go",
        })
    }
}

pub(crate) fn cases(redis: &Arc<Redis>, node: Place) -> Vec<Case> {
    let mut cases = Vec::new();
    for flavour in FLAVOURS {
        for kind in TYPES {
            let stage = |direction| Stage::new(redis, node, flavour, format!("/chat/{direction}-{flavour}-{kind}"));
            let says = Case::new(kind, &format!("scripted {flavour}→ours"), says::judge(kind, stage("says")));
            cases.push(if kind == "NODE_HEARTBEAT" { says.that_waits() } else { says });
            cases.push(Case::new(kind, &format!("ours→scripted {flavour}"), hears::judge(kind, stage("hears"))));
        }
        let stage = |direction| Stage::new(redis, node, flavour, format!("/chat/{direction}-{flavour}-order"));
        cases.push(Case::new("order", &format!("scripted {flavour}→ours"), says::order(stage("says"))));
        cases.push(Case::new("order", &format!("ours→scripted {flavour}"), hears::order(stage("hears"))));
    }
    cases
}

/// All that our nodes have said to nodes of whatever language, in all other cases.
pub(crate) fn all_that_was_said(redis: &Arc<Redis>) -> Vec<Case> {
    let case = |flavour: Flavour| {
        let redis = Arc::clone(redis);
        let judge = async move {
            let ours = redis.all().into_iter().filter(|heard| {
                heard.message["sourceNodeId"].as_str().is_some_and(|source| source.starts_with(OUR_NAMES))
            });
            let mut count = 0;
            for heard in ours {
                strict::check(flavour, &heard).unwrap_or_else(|fault| panic!("{fault}: {}", heard.message));
                count += 1;
            }
            assert!(count > 1000, "only {count} messages");
        };
        Case::new("all that was said", &format!("ours→scripted {flavour}"), judge)
    };
    FLAVOURS.map(case).into()
}
