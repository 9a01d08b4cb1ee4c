use std::fs;

use tempfile::tempdir;
use tokio::process::Command;

use super::{RunningProxy, Settings, configuration, free_address};

pub(crate) async fn start(settings: Settings) -> RunningProxy {
    start_with(settings, "").await
}

pub(crate) async fn start_with_proxy_protocol(settings: Settings) -> RunningProxy {
    start_with(settings, " send-proxy-v2 check-send-proxy").await
}

/// Starts it with further options for each server.
async fn start_with(Settings { servers: [one, two], idle }: Settings, options: &str) -> RunningProxy {
    let (folder, address) = (tempdir().expect("a folder"), free_address());
    let values = [
        ("bind :80 ", &*format!("bind {address} ")),
        ("10.0.0.11:8080", &format!("{one}{options}")),
        ("10.0.0.12:8080", &format!("{two}{options}")),
        ("127.0.0.1:10000", &free_address().to_string()),
        ("75s", idle),
    ];
    let file = folder.path().join("haproxy.cfg");
    fs::write(&file, configuration("haproxy/pondsocket.cfg", &values)).expect("written");
    let mut haproxy = Command::new("haproxy");
    // In the foreground, and with warnings about the configuration as its only output.
    haproxy.args(["-q", "-db", "-f"]).arg(file);
    RunningProxy::start(haproxy, address, folder).await
}
