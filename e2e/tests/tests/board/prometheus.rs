//! A Prometheus that scrapes every 200 ms.

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// The longest time to start: usually it takes a second.
const START: Duration = Duration::from_secs(60);

/// A Prometheus process. Its drop kills it.
pub(crate) struct Prometheus {
    address: SocketAddr,
    _process: Child,
    _folder: TempDir,
}

impl Prometheus {
    pub(crate) async fn start(targets: &[SocketAddr]) -> Prometheus {
        let folder = TempDir::with_prefix("prometheus-").expect("a folder");
        let targets: Vec<_> = targets.iter().map(|target| format!("'{target}'")).collect();
        let settings = format!(
            "scrape_configs: [{{ job_name: pondsocket, scrape_interval: 200ms, scrape_timeout: 200ms, \
             static_configs: [{{ targets: [{}] }}] }}]",
            targets.join(", ")
        );
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, settings).expect("a file");
        let address = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port");
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().display()))
            .arg(format!("--web.listen-address={address}"))
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("prometheus is installed");
        let prometheus = Prometheus { address, _process: process, _folder: folder };
        let deadline = Instant::now() + START;
        while get(address, "/-/ready").await.is_none_or(|(status, _)| status != 200) {
            assert!(Instant::now() < deadline, "Prometheus is not ready");
            sleep(Duration::from_millis(50)).await;
        }
        prometheus
    }

    /// Evaluates a query now. Returns the samples, or the error in the query.
    pub(crate) async fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("query", query).finish();
        let (_, body) = get(self.address, &format!("/api/v1/query?{query}")).await.expect("it answers");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        match answer["data"]["result"].as_array() {
            Some(samples) => Ok(samples.clone()),
            None => Err(answer["error"].to_string()),
        }
    }
}

/// The status and the body of a response; `None` if the connection fails.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
