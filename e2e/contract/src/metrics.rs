//! What happens, at `/metrics`.

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use pondsocket::{Error, PondSocket, Result, ServerOptions};
use pondsocket_metrics::{BUCKETS, Exported};
use tokio::time::interval;

/// How often single samples of histograms are put together: they take memory until then.
const UPKEEP: Duration = Duration::from_secs(1);

/// The recorder, which must be there before the first thing happens; none with `METRICS=off`.
pub(crate) fn recorder() -> Result<Option<PrometheusHandle>> {
    if std::env::var("METRICS").is_ok_and(|value| value == "off") {
        return Ok(None);
    }
    let recorder = install().map_err(Error::internal)?;
    tokio::spawn(keep_up(recorder.clone()));
    Ok(Some(recorder))
}

async fn keep_up(recorder: PrometheusHandle) {
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

/// Counts what happens in a pond.
pub(crate) fn counted(pond: PondSocket) -> PondSocket {
    pond.metrics(Exported::new())
}

/// A server that shows it, if it is recorded.
pub(crate) fn shown(pond: &PondSocket, recorder: Option<PrometheusHandle>) -> ServerOptions {
    let Some(recorder) = recorder else { return ServerOptions::default() };
    let pond = pond.clone();
    ServerOptions::default().metrics("/metrics", move || {
        pondsocket_metrics::record(&pond.snapshot());
        recorder.render()
    })
}
