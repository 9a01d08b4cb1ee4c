//! What happens, at `/metrics`.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use pondsocket::{Error, PondSocket, Result, ServerOptions};
use pondsocket_metrics::{COUNTS, Exported, SECONDS, names};

/// The recorder, which must be there before the first thing happens.
pub(crate) fn recorder() -> Result<PrometheusHandle> {
    let counted = [names::BROADCAST_RECIPIENTS, names::QUEUE_DEPTH].map(|name| Matcher::Full(name.into()));
    let mut builder = PrometheusBuilder::new().set_buckets(&SECONDS).map_err(Error::internal)?;
    for histogram in counted {
        builder = builder.set_buckets_for_metric(histogram, &COUNTS).map_err(Error::internal)?;
    }
    builder.install_recorder().map_err(Error::internal)
}

/// Counts what happens in a pond.
pub(crate) fn counted(pond: PondSocket) -> PondSocket {
    pond.metrics(Exported::new())
}

/// A server that shows it.
pub(crate) fn shown(pond: &PondSocket, recorder: PrometheusHandle) -> ServerOptions {
    let pond = pond.clone();
    ServerOptions::default().metrics("/metrics", move || {
        pondsocket_metrics::record(&pond.snapshot());
        recorder.render()
    })
}
