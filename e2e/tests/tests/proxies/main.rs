//! The server behind nginx and HAProxy, as processes of their own with the configurations of `ops/`. The same checks run with both.
//!
//! `./test proxies` installs and runs them.
#![cfg(target_os = "linux")]

mod checks;
mod proxy;
mod site;

/// Defines a test for each proxy and each check.
macro_rules! checkss {
    ($($checks:ident::$what:ident,)+) => {
        checkss! { nginx: $($checks::$what,)+ }
        checkss! { haproxy: $($checks::$what,)+ }
    };
    ($proxy:ident: $($checks:ident::$what:ident,)+) => {
        mod $proxy {
            use crate::checks;
            use crate::proxy::$proxy::start;

            $(
                #[tokio::test]
                #[ignore = "it needs nginx and HAProxy: ./test proxies"]
                async fn $what() {
                    checks::$checks::$what(start).await;
                }
            )+
        }
    };
}

/// The configuration with `send-proxy-v2` as in docs/operations.md. The header that HAProxy also adds is ignored, since the server has
/// no trusted proxies.
#[tokio::test]
#[ignore = "it needs HAProxy: ./test proxies"]
async fn haproxy_sends_the_client_address_by_the_proxy_protocol() {
    checks::address::the_client_address_is_read_from_the_proxy_protocol(proxy::haproxy::start_with_proxy_protocol)
        .await;
}

checkss! {
    websocket::declined_before_the_upgrade,
    websocket::messages_pass_in_both_directions,
    websocket::the_close_of_a_client_is_answered_with_its_code,
    events::declined_before_the_stream,
    events::each_event_is_delivered_at_once,
    events::requests_are_answered,
    events::the_end_of_a_client_is_noticed,
    events::compression_delays_no_event,
    events::a_message_reaches_its_stream_from_any_address,
    address::the_client_address_is_read_from_the_header_of_the_proxy,
    origin::only_pages_of_the_site_connect_with_cookies,
    idle::pings_keep_idle_clients_connected,
    idle::without_pings_idle_clients_are_disconnected,
    admin::only_endpoints_can_be_reached,
    drain::clients_of_a_stopping_server_reconnect_to_the_other,
}
