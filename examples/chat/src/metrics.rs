//! What happens in the chat, for Prometheus, at `/metrics`.

use anyhow::Result;
use axum::Router;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use pondsocket::PondSocket;
use pondsocket_metrics::BUCKETS;

/// The recorder, which must be there before the first thing happens.
pub(crate) fn recorder() -> Result<PrometheusHandle> {
    let mut builder = PrometheusBuilder::new();
    for (histogram, limits) in BUCKETS {
        builder = builder.set_buckets_for_metric(Matcher::Full(histogram.into()), limits)?;
    }
    Ok(builder.install_recorder()?)
}

pub(crate) fn routes(pond: &PondSocket, recorder: PrometheusHandle) -> Router {
    let pond = pond.clone();
    let show = async move || {
        pondsocket_metrics::record(&pond.snapshot());
        recorder.render()
    };
    Router::new().route("/metrics", get(show))
}
