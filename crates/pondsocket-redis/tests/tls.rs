//! `rediss://`, with certificates of our own.

mod support;

use pondsocket::cluster::{Bus, BusErrorKind};
use pondsocket_redis::RedisOptions;
use support::Node;
use testkit::{RedisServer, free_port};

#[tokio::test]
async fn certificates_are_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = rcgen::KeyPair::generate().expect("a key");
    let names = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = names.self_signed(&key).expect("a certificate").pem();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path.to_str().expect("a path").to_owned()
    };
    let (certificate_file, key_file) = (file("cert", &certificate), file("key", &key.serialize_pem()));
    let port = free_port();
    let redis = RedisServer::start_with(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &certificate_file,
        "--tls-key-file",
        &key_file,
        "--tls-ca-cert-file",
        &certificate_file,
        "--tls-auth-clients",
        "no",
    ])
    .await;

    let options = RedisOptions::url(&format!("rediss://localhost:{port}")).expect("an address");
    let mut untrusting = Node::start(options.clone(), &["t"]);
    let reason = untrusting.next_down().await;
    assert_eq!(reason.kind(), BusErrorKind::Refused, "{reason}");

    let mut node = Node::listening(options.ca(certificate), &["t"]).await;
    node.publish("t", "over TLS").await;
    assert_eq!(node.message().await.1, "over TLS");
    assert!(node.bus.stats().up);
    drop(redis);
}
