//! Scripted nodes of the languages whose servers are not available as packages, over a real Redis: the effects of their messages,
//! and whether they would accept the messages of this server. Each of the 13 types of message in both directions.

mod fixture;
mod foreign_node;
mod from_foreign;
mod strict;
mod to_foreign;

use std::fmt;
use std::sync::Arc;

use crate::matrix::{Attempt, Case};
use crate::node::{NodeAddress, OUR_NAMES};
use crate::redis::Redis;
use fixture::ScriptedFixture;

/// A type of message, with its cases in both directions.
struct MessageType {
    name: &'static str,
    to_foreign: fn(ScriptedFixture) -> Attempt,
    from_foreign: fn(ScriptedFixture) -> Attempt,
}

macro_rules! message_types {
    ($($name:literal: $case:ident,)*) => {
        /// All types of messages between servers of different languages.
        const MESSAGE_TYPES: &[MessageType] = &[$(MessageType {
            name: $name,
            to_foreign: |fixture| Box::pin(to_foreign::$case(fixture)),
            from_foreign: |fixture| Box::pin(from_foreign::$case(fixture)),
        },)*];
    };
}

message_types! {
    "USER_MESSAGE": user_message,
    "PRESENCE_UPDATE": presence_update,
    "PRESENCE_REMOVED": presence_removed,
    "ASSIGNS_UPDATE": assigns_update,
    "EVICT_USER": evict_user,
    "USER_REMOVE": user_remove,
    "USER_GET_REQUEST": user_get_request,
    "USER_GET_RESPONSE": user_get_response,
    "USER_JOINED": user_joined,
    "USER_LEFT": user_left,
    "STATE_REQUEST": state_request,
    "STATE_RESPONSE": state_response,
    "NODE_HEARTBEAT": node_heartbeat,
}

/// The implementation that a scripted node imitates.
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

pub(crate) fn cases(redis: &Arc<Redis>, node: NodeAddress) -> Vec<Case> {
    let mut cases = Vec::new();
    for flavour in FLAVOURS {
        for MessageType { name, to_foreign, from_foreign } in MESSAGE_TYPES {
            let fixture =
                |direction| ScriptedFixture::new(redis, node, flavour, format!("/chat/{direction}-{flavour}-{name}"));
            let received = Case::new(name, &format!("scripted {flavour}→ours"), from_foreign(fixture("from")));
            cases.push(if *name == "NODE_HEARTBEAT" { received.that_waits() } else { received });
            cases.push(Case::new(name, &format!("ours→scripted {flavour}"), to_foreign(fixture("to"))));
        }
        let fixture =
            |direction| ScriptedFixture::new(redis, node, flavour, format!("/chat/{direction}-{flavour}-order"));
        cases.push(Case::new("order", &format!("scripted {flavour}→ours"), from_foreign::order(fixture("from"))));
        cases.push(Case::new("order", &format!("ours→scripted {flavour}"), to_foreign::order(fixture("to"))));
    }
    cases
}

/// Checks all messages that this server has published in the other cases.
pub(crate) fn all_messages(redis: &Arc<Redis>) -> Vec<Case> {
    let case = |flavour: Flavour| {
        let redis = Arc::clone(redis);
        let check = async move {
            let ours = redis.all().into_iter().filter(|received| {
                received.message["sourceNodeId"].as_str().is_some_and(|source| source.starts_with(OUR_NAMES))
            });
            let mut count = 0;
            for received in ours {
                strict::check(flavour, &received).unwrap_or_else(|fault| panic!("{fault}: {}", received.message));
                count += 1;
            }
            assert!(count > 1000, "only {count} messages");
        };
        Case::new("all messages", &format!("ours→scripted {flavour}"), check)
    };
    FLAVOURS.map(case).into()
}
