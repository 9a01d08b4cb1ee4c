//! Behind the proxies that people have, as processes of their own, with the configurations of `ops/`: whatever works with
//! the server alone works through them, and what they add is so. Both are judged by the same tests.
//!
//! `./test proxies` installs and runs them.
#![cfg(target_os = "linux")]

mod judge;
mod proxy;
mod site;

/// A test for each proxy of each thing that must be so.
macro_rules! judges {
    ($($judge:ident::$what:ident,)+) => {
        judges! { nginx: $($judge::$what,)+ }
        judges! { haproxy: $($judge::$what,)+ }
    };
    ($proxy:ident: $($judge:ident::$what:ident,)+) => {
        mod $proxy {
            use crate::judge;
            use crate::proxy::$proxy::start;

            $(
                #[tokio::test]
                #[ignore = "it needs nginx and HAProxy: ./test proxies"]
                async fn $what() {
                    judge::$judge::$what(start).await;
                }
            )+
        }
    };
}

/// The configuration as it is, but for what docs/operations.md says of `send-proxy-v2`: the header that HAProxy adds besides
/// is not believed, since the server trusts no proxy's.
#[tokio::test]
#[ignore = "it needs HAProxy: ./test proxies"]
async fn haproxy_says_by_the_proxy_protocol_who_the_client_is() {
    judge::address::the_proxy_protocol_says_who_the_client_is(proxy::haproxy::start_with_proxy_protocol).await;
}

judges! {
    websocket::declined_before_the_upgrade,
    websocket::messages_go_both_ways,
    websocket::the_close_of_a_client_is_answered_with_its_code,
    events::declined_before_the_stream,
    events::each_event_comes_at_once,
    events::requests_are_answered,
    events::a_client_that_goes_is_missed,
    events::compression_holds_nothing_back,
    events::a_message_finds_its_stream_from_any_address,
    address::the_proxy_says_who_the_client_is,
    origin::only_pages_of_the_site_come_in_with_cookies,
    idle::pings_keep_the_silent_connected,
    idle::without_pings_the_silent_are_cut_off,
    inside::nothing_but_endpoints_is_reached,
    drain::clients_of_a_server_that_stops_go_to_the_other,
}
