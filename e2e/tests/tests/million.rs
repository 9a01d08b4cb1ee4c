//! A million deliveries in one order per channel, at a server that runs as in production.

use e2e_tests::ContractServer;
use testkit::OrderLoad;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a million deliveries: ./test order"]
async fn a_million_deliveries_in_one_order() {
    let server = ContractServer::start().await;
    let load = OrderLoad { channels: 24, publishers: 4, receivers: 8, joiners: 2, messages: 900, seed: 0xca5cade };
    let deliveries = load.run(server.address, "/api/socket?token=t", "/presence").await;
    assert!(deliveries >= 1_000_000, "only {deliveries} deliveries");
    println!("{deliveries} deliveries, no inversion, no gap");
}
