//! Another Redis becomes the primary.

use std::time::Duration;

use tokio::time::Instant;

use crate::stage::Stage;

const PATIENCE: Duration = Duration::from_secs(30);

/// `kill -9` of the primary: the sentinel notices, and promotes the replica.
pub(crate) async fn primary_killed(stage: &mut Stage) {
    stage.redis.kill().await;
    promoted(stage).await;
}

/// Both live, and change places.
pub(crate) async fn told_to_fail_over(stage: &mut Stage) {
    let sentinel = stage.sentinel.as_ref().expect("there is a sentinel");
    let _: () = sentinel.command(&["SENTINEL", "FAILOVER", "main"]).await;
    promoted(stage).await;
}

/// People go on until the replica is the primary, and for the sentinel too.
async fn promoted(stage: &mut Stage) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        stage.live(Duration::from_millis(100)).await;
        let (replica, sentinel) = (stage.replica.as_ref(), stage.sentinel.as_ref());
        let (replica, sentinel) = (replica.expect("there is one"), sentinel.expect("there is one"));
        let known = sentinel.info("sentinel", "master0").await;
        if known.contains(&format!(":{},", replica.port)) {
            assert_eq!(replica.info("replication", "role").await, "master");
            return;
        }
        assert!(Instant::now() < deadline, "no failover: {known}");
    }
}
