use std::fs;

use tempfile::tempdir;
use tokio::process::Command;

use super::{RunningProxy, Settings, configuration, free_address};

/// The main configuration of a distribution, around the file of `ops/`.
const MAIN_CONFIGURATION: &str = "
user root;
daemon off;
worker_processes 2;
pid nginx.pid;
error_log stderr crit;
events {}
http {
    access_log off;
    # As people have it who compress everything.
    gzip on;
    gzip_types *;
    gzip_proxied any;
    gzip_min_length 1;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include pondsocket.conf;
}
";

pub(crate) async fn start(Settings { servers: [one, two], idle }: Settings) -> RunningProxy {
    let (folder, address) = (tempdir().expect("a folder"), free_address());
    let values = [
        ("listen 80;", &*format!("listen {address};")),
        ("10.0.0.11:8080", &one.to_string()),
        ("10.0.0.12:8080", &two.to_string()),
        ("75s", idle),
    ];
    fs::write(folder.path().join("pondsocket.conf"), configuration("nginx/pondsocket.conf", &values)).expect("written");
    fs::write(folder.path().join("nginx.conf"), MAIN_CONFIGURATION).expect("written");
    let mut nginx = Command::new("nginx");
    nginx.arg("-p").arg(folder.path()).args(["-c", "nginx.conf", "-e", "stderr"]);
    RunningProxy::start(nginx, address, folder).await
}
