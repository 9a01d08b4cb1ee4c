//! The output of a scrape after clients have connected, sent messages and left.

use std::error::Error as StdError;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use pondsocket::cluster::{Excess, GapCause};
use pondsocket::metrics::{BusDrop, ClusterEvent, GraceEvent, Metrics, SocketCloseReason};
use pondsocket::testing::Client;
use pondsocket::{Connected, ConnectionContext, Error, EventContext, JoinContext, Joined, Options, PondSocket, Result};
use pondsocket_metrics::{BUCKETS, Exported, names};
use serde_json::json;
use testkit::DEADLINE;
use tokio::time::{Instant, sleep};

type TestResult = Result<(), Box<dyn StdError>>;

/// A pond whose metrics go to a recorder of this thread, which a test has for itself.
struct Scraped {
    pond: PondSocket,
    prometheus: PrometheusHandle,
    _recorder: metrics::LocalRecorderGuard<'static>,
}

impl Scraped {
    fn new() -> Scraped {
        let mut builder = PrometheusBuilder::new();
        for (histogram, limits) in BUCKETS {
            builder = builder.set_buckets_for_metric(Matcher::Full(histogram.into()), limits).expect("some limits");
        }
        let recorder = builder.build_recorder();
        let prometheus = recorder.handle();
        let guard = metrics::set_default_local_recorder(Box::leak(Box::new(recorder)));
        let pond = PondSocket::with_options(Options::default().max_channel_name(20)).expect("valid");
        let pond = pond.metrics(Exported::new());
        let endpoint = pond.create_endpoint("/ws/:n", async |ctx: ConnectionContext| match ctx.param("n")? {
            "closed" => Err(Error::forbidden("closed")),
            _ => Ok(ctx.accept()) as Result<Connected>,
        });
        let lobby = endpoint.create_channel("/room/:n", async |ctx: JoinContext| match ctx.param("n")? {
            "closed" => Err(Error::forbidden("closed")),
            _ => Ok(ctx.accept()) as Result<Joined>,
        });
        lobby.on_event("say", async |ctx: EventContext| ctx.broadcast("said", &json!({})));
        lobby.on_event("fail", async |_: EventContext| Err::<(), _>(Error::new(422, "no")));
        Scraped { pond, prometheus, _recorder: guard }
    }

    async fn connect(&self) -> Result<Client, Box<dyn StdError>> {
        Ok(self.pond.test_client().connect("/ws/1").await?)
    }

    /// Waits until a sample has a value.
    async fn shows(&self, sample: &str, value: &str) {
        let start = Instant::now();
        let line = format!("{sample} {value}");
        while !self.prometheus.render().lines().any(|found| found == line) {
            assert!(start.elapsed() < DEADLINE, "not {line}:\n{}", self.prometheus.render());
            sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn ghosts_are_counted_until_their_grace_ends() -> TestResult {
    let scraped = Scraped::new();
    let metrics = Exported::new();
    for (user, event) in [
        ("ada", GraceEvent::Began),
        ("bob", GraceEvent::Began),
        ("ada", GraceEvent::Returned),
        ("cleo", GraceEvent::Began),
    ] {
        metrics.presence_grace("/ws/:n", "/room/1", user, event);
    }
    scraped.shows(r#"pondsocket_ghosts{endpoint="/ws/:n"}"#, "2").await;
    metrics.presence_grace("/ws/:n", "/room/1", "bob", GraceEvent::Expired);
    scraped.shows(r#"pondsocket_ghosts{endpoint="/ws/:n"}"#, "1").await;
    scraped.shows(r#"pondsocket_grace_total{endpoint="/ws/:n",event="began"}"#, "3").await;
    scraped.shows(r#"pondsocket_grace_total{endpoint="/ws/:n",event="expired"}"#, "1").await;
    // A member of an earlier server was not seen to join this one.
    metrics.presence_grace("/ws/:n", "/room/1", "dan", GraceEvent::Restored);
    scraped.shows(r#"pondsocket_ghosts{endpoint="/ws/:n"}"#, "2").await;
    scraped.shows(r#"pondsocket_members{endpoint="/ws/:n"}"#, "1").await;
    metrics.presence_grace("/ws/:n", "/room/1", "dan", GraceEvent::Saved);
    metrics.channel_left("/ws/:n", "/room/1", "dan", "saved");
    scraped.shows(r#"pondsocket_ghosts{endpoint="/ws/:n"}"#, "1").await;
    scraped.shows(r#"pondsocket_members{endpoint="/ws/:n"}"#, "0").await;
    Ok(())
}

#[tokio::test]
async fn connections_members_and_channels_are_counted_until_they_end() -> TestResult {
    let scraped = Scraped::new();
    let ada = scraped.connect().await?;
    let bob = scraped.connect().await?;
    ada.join("/room/1", json!({})).await?;
    scraped.shows(r#"pondsocket_connections{endpoint="/ws/:n"}"#, "2").await;
    scraped.shows(r#"pondsocket_members{endpoint="/ws/:n"}"#, "1").await;
    scraped.shows(r#"pondsocket_channels{endpoint="/ws/:n"}"#, "1").await;
    drop((ada, bob));
    scraped.shows(r#"pondsocket_connections{endpoint="/ws/:n"}"#, "0").await;
    scraped.shows(r#"pondsocket_members{endpoint="/ws/:n"}"#, "0").await;
    scraped.shows(r#"pondsocket_channels{endpoint="/ws/:n"}"#, "0").await;
    scraped.shows(r#"pondsocket_connections_opened_total{endpoint="/ws/:n"}"#, "2").await;
    scraped.shows(r#"pondsocket_connection_seconds_count{endpoint="/ws/:n"}"#, "2").await;
    scraped.shows(r#"pondsocket_joins_total{endpoint="/ws/:n"}"#, "1").await;
    scraped.shows(r#"pondsocket_leaves_total{endpoint="/ws/:n",reason="connection_closed"}"#, "1").await;
    Ok(())
}

#[tokio::test]
async fn declined_connections_and_joins_are_counted_by_reason() -> TestResult {
    let scraped = Scraped::new();
    assert!(scraped.pond.test_client().connect("/ws/closed").await.is_err());
    let declined = r#"pondsocket_connections_declined_total{endpoint="/ws/:n",reason="handler",status="403"}"#;
    scraped.shows(declined, "1").await;

    let ada = scraped.connect().await?;
    assert!(ada.join("/room/closed", json!({})).await.is_err());
    assert!(ada.join(&format!("/room/{}", "x".repeat(20)), json!({})).await.is_err());
    scraped.shows(r#"pondsocket_joins_declined_total{endpoint="/ws/:n",code="403"}"#, "1").await;
    scraped.shows(r#"pondsocket_limits_reached_total{endpoint="/ws/:n",limit="channel_name"}"#, "1").await;
    Ok(())
}

#[tokio::test]
async fn messages_are_counted_and_handlers_timed() -> TestResult {
    let scraped = Scraped::new();
    let (ada, bob) = (scraped.connect().await?, scraped.connect().await?);
    let mut adas = ada.join("/room/1", json!({})).await?;
    let mut bobs = bob.join("/room/1", json!({})).await?;
    for _ in 0..3 {
        adas.send("say", json!({}));
        adas.next("said").await?;
        bobs.next("said").await?;
    }
    adas.send("fail", json!({}));
    scraped.shows(r#"pondsocket_messages_received_total{endpoint="/ws/:n"}"#, "4").await;
    scraped.shows(r#"pondsocket_broadcast_recipients_count{endpoint="/ws/:n"}"#, "3").await;
    scraped.shows(r#"pondsocket_broadcast_recipients_sum{endpoint="/ws/:n"}"#, "6").await;
    scraped.shows(r#"pondsocket_handler_seconds_count{kind="event",pattern="/room/:n"}"#, "4").await;
    scraped.shows(r#"pondsocket_handler_failures_total{kind="event",pattern="/room/:n",code="422"}"#, "1").await;
    Ok(())
}

#[tokio::test]
async fn sockets_that_the_server_closes_are_counted_by_reason() {
    let scraped = Scraped::new();
    let exported = Exported::new();
    exported.socket_closed(SocketCloseReason::EvictedIdle);
    exported.socket_closed(SocketCloseReason::EvictedIdle);
    exported.socket_closed(SocketCloseReason::Overloaded);
    scraped.shows(r#"pondsocket_sockets_closed_total{reason="evicted_idle"}"#, "2").await;
    scraped.shows(r#"pondsocket_sockets_closed_total{reason="overloaded"}"#, "1").await;
}

#[tokio::test]
async fn cluster_events_are_counted() {
    let scraped = Scraped::new();
    let exported = Exported::new();
    for event in [
        ClusterEvent::BusUp,
        ClusterEvent::Dropped { reason: BusDrop::Full, messages: 3 },
        ClusterEvent::Gap(GapCause::Probe),
        ClusterEvent::Received,
        ClusterEvent::Malformed("foreign"),
        ClusterEvent::Excess { what: Excess::Users, times: 3 },
        ClusterEvent::Nodes(2),
        ClusterEvent::NameTaken,
        ClusterEvent::HistoryAppended(5),
        ClusterEvent::HistoryRead,
        ClusterEvent::HistoryDetached,
        ClusterEvent::Diverged,
    ] {
        exported.cluster(event);
    }
    scraped.shows("pondsocket_bus_up", "1").await;
    scraped.shows("pondsocket_bus_connections_total", "1").await;
    scraped.shows(r#"pondsocket_bus_dropped_total{reason="full"}"#, "3").await;
    scraped.shows(r#"pondsocket_bus_gaps_total{cause="probe"}"#, "1").await;
    scraped.shows("pondsocket_bus_received_total", "1").await;
    scraped.shows(r#"pondsocket_bus_malformed_total{what="foreign"}"#, "1").await;
    scraped.shows(r#"pondsocket_cluster_excess_total{what="users"}"#, "3").await;
    scraped.shows("pondsocket_nodes", "2").await;
    scraped.shows("pondsocket_node_names_taken_total", "1").await;
    scraped.shows("pondsocket_divergences_total", "1").await;
    scraped.shows("pondsocket_history_appended_total", "5").await;
    scraped.shows("pondsocket_history_reads_total", "1").await;
    scraped.shows("pondsocket_history_detached_total", "1").await;
    exported.cluster(ClusterEvent::BusDown);
    scraped.shows("pondsocket_bus_up", "0").await;
}

#[tokio::test]
async fn the_number_of_labels_does_not_depend_on_users_channels_or_messages() -> TestResult {
    let scraped = Scraped::new();
    let samples = || scraped.prometheus.render().lines().filter(|line| !line.starts_with('#')).count();
    let mut after_the_first = None;
    for number in 0..50 {
        let client = scraped.connect().await?;
        let mut room = client.join(&format!("/room/{number}"), json!({})).await?;
        room.send(&format!("unhandled-{number}"), json!({}));
        room.send("say", json!({ "number": number }));
        room.next("said").await?;
        client.close();
        scraped.shows(r#"pondsocket_channels{endpoint="/ws/:n"}"#, "0").await;
        assert_eq!(samples(), *after_the_first.get_or_insert(samples()), "at number {number}");
    }
    Ok(())
}

#[tokio::test]
async fn metric_names_are_unique_and_valid_for_prometheus() {
    let mut names = names::ALL.to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), names::ALL.len());
    for name in names {
        let rest = name.strip_prefix("pondsocket_").expect(name);
        assert!(rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
    }
    assert!(BUCKETS.iter().all(|(histogram, limits)| names::ALL.contains(histogram) && limits.is_sorted()));
}
