//! The effect of each option, for all endpoints and for one that has a value of its own. Not only here:
//!
//! | option | shown by |
//! |---|---|
//! | `check_origin`, `allowed_origins`, `allowed_origin_regexps`, `allow_missing_origin` | `only_pages_of_allowed_origins_…`, `a_client_without_an_origin_…`, `by_default_a_page_…`; `event_streams/`; `src/limits/origin.rs` |
//! | `max_connections` | `connections_of_an_endpoint_…`, `a_permit_is_released_…` |
//! | `retry_after` | the same, and `limits.rs` |
//! | `max_connections_per_ip`, `trusted_proxies` | `limits.rs`; `src/limits/address.rs` |
//! | `client_address_header` | `the_address_of_the_client_…`; `src/limits/address.rs` |
//! | `subprotocols` | `a_configured_subprotocol_…`; `endpoints.rs` |
//! | `arrivals_per_round`, `max_waiting_connects` | `serving/arrivals.rs` |
//! | `max_message_size` | `endpoints.rs`, `bad_input.rs`, `metrics.rs` |
//! | `enable_compression` | `compression_is_used_…`, `slow_clients.rs` |
//! | `read_buffer_size`, `write_buffer_size` | `the_buffers_of_a_socket_…` |
//! | `ping_interval`, `pong_wait` | `isolation.rs`, `an_endpoint_has_the_configured_intervals_…` |
//! | `heartbeat` | `heartbeats_are_messages_…` |
//! | `write_wait` | `isolation.rs`, `a_close_that_is_not_answered_…`, `a_permit_is_released_…` |
//! | `send_timeout`, `send_channel_buffer`, `outbox_bytes` | `isolation.rs`, `slow_clients.rs`, `an_endpoint_has_the_configured_bounds_…` |
//! | `slow_client` | `slow_clients.rs` |
//! | `pacing_wait`, `pacing_rate`, `pacing_budget` | `overload.rs` |
//! | `receive_channel_buffer`, `max_concurrent_handlers` | `isolation.rs`, `an_endpoint_has_the_configured_bounds_…` |
//! | `receive_bytes`, `memory_limit` | `memory.rs` |
//! | `history_bytes` | `membership/history.rs` |
//! | `max_ghosts` | `membership/grace.rs` |
//! | `history_file` | `membership/restarts.rs` |
//! | `resume_window`, `proof_interval`, `max_sessions` | `membership/sessions.rs`, `membership/restarts.rs` |
//! | `pong_proofs` | `membership/relayed.rs` |
//! | `handler_timeout` | `isolation.rs`, `the_handler_timeout_…` |
//! | `max_channel_name`, `max_channels_per_connection`, `max_pending_joins` | `limits.rs`, `an_endpoint_has_the_configured_limits_…` |
//! | `messages_per_second`, `bytes_per_second`, `max_refusals` | `limits.rs`, `an_endpoint_has_the_configured_limits_…` |
//! | `max_assigns_size`, `max_presence_size` | `limits.rs`, `an_endpoint_has_the_configured_limits_…` |
//! | `max_channel_presence`, `max_presence_list`, `presence_batch`, `large_channel`, `presence_interval` | `overload.rs` |
//! | `canonical_channel_names` | `canonical_channel_names_…` |
//! | `event_streams` | `event_streams/` |
//! | `cors_allow_origin`, `cors_allow_credentials` | `pages_of_allowed_origins_may_read_…` |
//! | `cors_allow_headers` | `event_streams/` |
//! | `bus`, `node_name`, `unready_without_bus`, `node_heartbeat`, `node_timeout`, `max_remote_users`, `max_remote_presence` | `cluster/` |
//! | `channel_queue`, `channel_queue_bytes` | `isolation.rs`, `src/edge/connection/mod.rs`, `a_channel_queue_is_full_…` |

mod admission;
mod bounds;
mod timing;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use pondsocket::testing::Connector;
use pondsocket::{
    Connected, ConnectionContext, Endpoint, EndpointOptions, EventContext, JoinContext, Joined, Options, Payload,
    PondSocket, Result,
};
use serde_json::{Value, json};
use testkit::{Message, Recorder, serve_in_memory};
use tokio::io::DuplexStream;
use tokio::time::{Instant, sleep};
use tokio_tungstenite::WebSocketStream;

const SECOND: Duration = Duration::from_secs(1);

async fn anybody(ctx: ConnectionContext) -> Result<Connected> {
    Ok(ctx.accept())
}

async fn everybody(ctx: JoinContext) -> Result<Joined> {
    Ok(ctx.accept())
}

/// A pond with these options, and two endpoints: one that keeps them, and one with its own.
fn pond(options: Options, own: EndpointOptions) -> (PondSocket, [Endpoint; 2], Recorder) {
    let counted = Recorder::default();
    let pond = PondSocket::with_options(options).expect("valid options").metrics(counted.clone());
    let endpoints = [pond.create_endpoint("/all", anybody), pond.create_endpoint("/own", anybody).options(own)];
    for endpoint in &endpoints {
        let lobby = endpoint.create_channel("/room/*", everybody);
        lobby.on_event("echo", async |ctx: EventContext, Payload(value): Payload<Value>| ctx.reply("echo", &value));
        lobby.on_event("wait", async |_: EventContext| std::future::pending::<()>().await);
    }
    (pond, endpoints, counted)
}

/// The status of a refusal and its `Retry-After`.
async fn refusal(client: &Connector, path: &str) -> (u16, Option<String>) {
    let refused = client.connect(path).await.expect_err("not let in");
    let refused = refused.refusal().expect("over HTTP");
    let after = refused.headers().get("retry-after").map(|after| after.to_str().expect("text").to_owned());
    (refused.status().as_u16(), after)
}

/// A client that reads, and so answers pings and closes, only on request of the test.
async fn passive(pond: &PondSocket, path: &str) -> WebSocketStream<DuplexStream> {
    let url = format!("ws://localhost{path}");
    let mut socket = tokio_tungstenite::client_async(url, serve_in_memory(pond, 4096)).await.expect("let in").0;
    assert!(text(&mut socket).await.contains("CONNECTION"));
    for room in 1..=2 {
        send_message(&mut socket, "JOIN_CHANNEL", "JOIN_CHANNEL", &format!("/room/{room}")).await;
        assert!(text(&mut socket).await.contains("ACKNOWLEDGE"));
    }
    socket
}

async fn send_message(socket: &mut WebSocketStream<DuplexStream>, action: &str, event: &str, channel: &str) {
    let message = json!({ "action": action, "event": event, "channelName": channel, "requestId": "q", "payload": {} });
    socket.send(Message::text(message.to_string())).await.expect("open");
}

async fn text(socket: &mut WebSocketStream<DuplexStream>) -> String {
    socket.next().await.expect("open").expect("a frame").into_text().expect("text").to_string()
}

/// Reads to the end, and so answers a close: its code, or 1006 if the stream just ended.
async fn closed(socket: &mut WebSocketStream<DuplexStream>) -> u16 {
    let mut code = 1006;
    while let Some(Ok(frame)) = socket.next().await {
        if let Message::Close(Some(frame)) = frame {
            code = frame.code.into();
        }
    }
    code
}

/// Waits until all connections of an endpoint have ended, and checks the time to a tenth of a second.
async fn gone_after(endpoint: &Endpoint, start: Instant, expected: Duration) {
    while !endpoint.connections().is_empty() {
        assert!(start.elapsed() < 600 * SECOND, "it stays");
        sleep(SECOND / 100).await;
    }
    let elapsed = start.elapsed();
    assert!(elapsed >= expected && elapsed < expected + SECOND / 10, "{elapsed:?} in place of {expected:?}");
}

#[test]
fn the_table_above_names_every_option() {
    let options = format!("{:#?}", Options::default());
    let fields = options.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": "));
    let table: String = include_str!("mod.rs").lines().take_while(|line| line.starts_with("//!")).collect();
    let mut count = 0;
    for (field, _) in fields.filter(|(field, _)| !field.starts_with(' ')) {
        assert!(table.contains(&format!("`{field}`")), "{field}");
        count += 1;
    }
    assert!(count > 30, "{options}");
}

/// Options that limit nothing.
const NO_LIMITS: [&str; 21] = [
    "allowed_origins",
    "allowed_origin_regexps",
    "bus",
    "client_address_header",
    "cors_allow_credentials",
    "cors_allow_headers",
    "cors_allow_origin",
    "enable_compression",
    "event_streams",
    "heartbeat",
    "history_file",
    "node_heartbeat",
    "node_name",
    "node_timeout",
    "read_buffer_size",
    "retry_after",
    "slow_client",
    "subprotocols",
    "trusted_proxies",
    "unready_without_bus",
    "write_buffer_size",
];

#[test]
fn the_table_for_operators_has_every_limit_with_its_default_and_a_reason() {
    let options = format!("{:#?}", Options::default());
    let fields = options.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": "));
    let defaults: HashMap<_, _> = fields.map(|(field, value)| (field, value.trim_end_matches(','))).collect();
    let guide = include_str!("../../../../../docs/operations.md");
    let section = guide.split("## Limits").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    let table = section.lines().skip_while(|line| !line.starts_with("| option ")).skip(2);
    let mut listed = HashSet::new();
    for row in table.take_while(|line| line.starts_with('|')) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [option, default, _, _, _, why] = cells[..] else { panic!("not six cells: {row}") };
        assert!(!why.is_empty(), "why? {row}");
        let named: Vec<_> = option.split('`').skip(1).step_by(2).filter(|name| defaults.contains_key(name)).collect();
        let said: Vec<_> = default.split(", ").filter(|text| !text.is_empty()).collect();
        assert_eq!(named.len(), said.len(), "as many defaults as options: {row}");
        for (name, said) in named.into_iter().zip(said) {
            assert_eq!(as_debugged(said), defaults[name], "{name}: {row}");
            listed.insert(name);
        }
    }
    let missing = defaults.keys().filter(|field| !listed.contains(**field) && !NO_LIMITS.contains(field));
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&&str>::new(), "no row of docs/operations.md names them");
}

/// A default of the table as the options print it.
fn as_debugged(said: &str) -> String {
    let said = said.split(':').next().unwrap_or_default().trim_matches('`');
    match said.split_once(' ') {
        Some((number, "KiB")) => (number.parse::<usize>().expect("a number") * 1024).to_string(),
        Some((number, "MiB")) => (number.parse::<usize>().expect("a number") * 1024 * 1024).to_string(),
        Some((number, "bytes")) => number.to_owned(),
        Some((number, unit @ ("s" | "ms"))) => format!("{number}{unit}"),
        None if said == "on" => "true".into(),
        None if said == "off" => "false".into(),
        None if said == "none" => "None".into(),
        _ => said.to_owned(),
    }
}
