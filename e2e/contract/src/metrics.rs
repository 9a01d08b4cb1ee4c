//! Metrics, served at `/metrics`.

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use pondsocket::{Error, PondSocket, Result, ServerOptions};
use pondsocket_metrics::{BUCKETS, Exported};
use tokio::time::interval;

/// The interval in which the samples of histograms are aggregated: until then each takes memory.
const UPKEEP: Duration = Duration::from_secs(1);

/// Installs the recorder, unless `METRICS=off`. To be called before the pond is made, since earlier events are lost.
pub(crate) fn recorder() -> Result<Option<PrometheusHandle>> {
    if std::env::var("METRICS").is_ok_and(|value| value == "off") {
        return Ok(None);
    }
    let recorder = install().map_err(Error::internal)?;
    tokio::spawn(run_upkeep(recorder.clone()));
    Ok(Some(recorder))
}

async fn run_upkeep(recorder: PrometheusHandle) {
    let mut times = interval(UPKEEP);
    loop {
        times.tick().await;
        recorder.run_upkeep();
    }
}

fn install() -> Result<PrometheusHandle, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for (histogram, limits) in BUCKETS {
        builder = builder.set_buckets_for_metric(Matcher::Full(histogram.into()), limits)?;
    }
    builder.install_recorder()
}

/// Counts the events of a pond.
pub(crate) fn with_metrics(pond: PondSocket) -> PondSocket {
    pond.metrics(Exported::new())
}

/// The options of a server, with the metrics page if there is a recorder.
pub(crate) fn server_options(pond: &PondSocket, recorder: Option<PrometheusHandle>) -> ServerOptions {
    let Some(recorder) = recorder else { return ServerOptions::default() };
    let pond = pond.clone();
    ServerOptions::default().metrics("/metrics", move || {
        pondsocket_metrics::record(&pond.snapshot());
        recorder.render()
    })
}
