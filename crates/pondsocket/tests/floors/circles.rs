//! Files of one crate import each other in no circle but those that are listed here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::imports::Imports;

/// Imports that close a circle: a file, the file that it imports from, and the reason. Without these the files of a crate
/// can be read from the lowest to the highest.
const PONDSOCKET: &[(&str, &str, &str)] = &[
    ("cluster/bus", "cluster/lease", "a bus may offer leases, whose trait returns the same boxed futures"),
    (
        "cluster/bus",
        "cluster/history",
        "a bus may offer a store of histories, whose trait returns the same boxed futures",
    ),
    ("cluster/node", "cluster/node/history", "a node has the histories that it shares, whose tasks work on the node"),
    ("cluster/node", "cluster/node/sessions", "a node has a queue of records, whose task asks the node for them"),
    ("cluster/node", "cluster/node/task", "a node starts its task, which works on the node"),
    ("engine/live", "engine/hub", "a channel that closes takes itself out of the hub, which holds channels"),
    ("engine/live", "engine/live/delivery", "a channel starts its delivery, which works on the channel"),
    ("engine/live", "engine/live/flush", "a change says who flushes the channel, which is one of the ways to do that"),
    ("engine/live", "engine/live/model", "the model checker's stand-ins, which are built for it alone"),
    (
        "engine/sessions",
        "engine/sessions/connection",
        "the sessions of an endpoint end and record the connections, which tell them what they know",
    ),
    (
        "engine/sessions/table",
        "engine/sessions/connection",
        "the table has the connections of the sessions, which look at it",
    ),
    ("limits/address", "options", "the rule for addresses is made of several options, which are checked by making it"),
    (
        "limits/origin",
        "options",
        "the rule for origins is made of several options, and what is checked is kept beside them",
    ),
    ("serve", "serve/accept", "a server starts to accept, and what accepts shares the server's state"),
    (
        "testing/bus/bus_under_test",
        "testing/bus/cases",
        "the macro that names all cases is what one implements `BusUnderTest` for",
    ),
    ("testing/events", "testing/connector", "an error type of the connector, which opens event streams"),
    ("testing/connection", "testing/events", "a connection is an event stream or a WebSocket, and both fill its inbox"),
    // A handler is generic over contexts, and a context gives access to the endpoint, which has the handlers.
    ("channel", "context/event", "a handle that a context has given belongs to the message of that context"),
    ("channel", "endpoint/inner", "a channel's handle finds the live channel by its endpoint"),
    ("channel", "endpoint/broadcast", "a channel's handle broadcasts"),
    ("context/event", "endpoint/broadcast", "the same"),
    (
        "context/event",
        "endpoint/inner",
        "what a handler does with its context is done to the endpoint and its connections",
    ),
    ("context/join", "endpoint/inner", "the same"),
    ("context/leave", "endpoint/inner", "the same"),
    ("context/gap", "endpoint/inner", "the same"),
    ("context/join", "lobby", "a join is accepted for a lobby, whose handlers are called with contexts"),
    ("context/leave", "lobby", "the same"),
    ("context/join", "handler", "a context says what kind of handler it is for"),
    ("handler", "context/connection", "the answers of handlers are those that contexts are answered with"),
    ("handler", "context/event", "the same"),
    ("handler", "context/leave", "the same"),
    ("handler", "context/gap", "the same"),
    ("handler", "extract", "a handler takes what can be extracted from its context"),
    ("handler", "middleware", "a handler can be wrapped in layers, which are handlers"),
];

const PROTOCOL: &[(&str, &str, &str)] = &[
    (
        "channel/local_members",
        "channel/batch",
        "a batch names seats of the members, and their listeners are of a type of the batch",
    ),
    ("ws/event", "ws/decoder", "an event is made within the decoder's limits"),
    ("ws/inflate", "ws/decoder", "a message is inflated within the decoder's limits"),
];

#[test]
fn files_of_the_server_import_in_no_circle_that_is_not_listed() {
    check("src", PONDSOCKET);
}

#[test]
fn files_of_the_protocol_import_in_no_circle_that_is_not_listed() {
    check("../pondsocket-proto/src", PROTOCOL);
}

fn check(sources: &str, allowed: &[(&str, &str, &str)]) {
    let mut edges = Imports::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(sources)).edges();
    assert!(edges.len() > 200, "only {} imports were found", edges.len());
    let allowed: Vec<_> = allowed.iter().map(|(from, to, _)| ((*from).to_owned(), (*to).to_owned())).collect();
    for edge in &allowed {
        assert!(edges.remove(edge), "{} does not import from {} (any more): take it from the list", edge.0, edge.1);
    }
    let circles = circles(&edges);
    assert!(circles.is_empty(), "files import each other in circles: {circles:#?}");
    for edge in allowed {
        edges.insert(edge.clone());
        assert!(!self::circles(&edges).is_empty(), "{} -> {} closes no circle: take it from the list", edge.0, edge.1);
        edges.remove(&edge);
    }
}

/// The imports that lie on a circle: from the file that is imported a way leads back.
fn circles(edges: &BTreeSet<(String, String)>) -> BTreeMap<&str, Vec<&str>> {
    let mut imports = BTreeMap::<&str, Vec<&str>>::new();
    edges.iter().for_each(|(from, to)| imports.entry(from).or_default().push(to));
    let leads_to = |from: &str, to: &str| {
        let (mut reached, mut next) = (BTreeSet::from([from]), vec![from]);
        while let Some(file) = next.pop() {
            next.extend(imports.get(file).into_iter().flatten().filter(|import| reached.insert(import)));
        }
        reached.contains(to)
    };
    let mut circles = BTreeMap::<_, Vec<_>>::new();
    for (from, to) in edges.iter().filter(|(from, to)| leads_to(to, from)) {
        circles.entry(from.as_str()).or_default().push(to.as_str());
    }
    circles
}

#[test]
fn a_circle_is_found_and_the_way_to_it_is_not() {
    let edges = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    assert!(circles(&edges(&[("a", "b"), ("b", "c"), ("a", "c")])).is_empty());
    let found = edges(&[("a", "b"), ("b", "c"), ("c", "b"), ("c", "d"), ("d", "e"), ("e", "d")]);
    assert_eq!(
        circles(&found),
        BTreeMap::from([("b", vec!["c"]), ("c", vec!["b"]), ("d", vec!["e"]), ("e", vec!["d"])])
    );
}
