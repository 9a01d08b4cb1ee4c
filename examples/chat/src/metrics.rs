//! Metrics for Prometheus, at `/metrics`.

use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use pondsocket::PondSocket;
use pondsocket_metrics::BUCKETS;
use tokio::time::interval;

/// The time after which samples of histograms are aggregated: they take memory until then.
const UPKEEP: Duration = Duration::from_secs(5);

/// Installs the recorder. Metrics that are counted before are lost.
pub(crate) fn recorder() -> Result<PrometheusHandle> {
    let mut builder = PrometheusBuilder::new();
    for (histogram, limits) in BUCKETS {
        builder = builder.set_buckets_for_metric(Matcher::Full(histogram.into()), limits)?;
    }
    let recorder = builder.install_recorder()?;
    tokio::spawn(keep_up(recorder.clone()));
    Ok(recorder)
}

async fn keep_up(recorder: PrometheusHandle) {
    let mut times = interval(UPKEEP);
    loop {
        times.tick().await;
        recorder.run_upkeep();
    }
}

pub(crate) fn routes(pond: &PondSocket, recorder: PrometheusHandle) -> Router {
    let pond = pond.clone();
    let show = async move || {
        pondsocket_metrics::record(&pond.snapshot());
        recorder.render()
    };
    Router::new().route("/metrics", get(show))
}
