//! The bus under test.

use std::sync::Arc;

use crate::cluster::{BoxFuture, Bus};

/// The bus under test: an engine of its own, with as many nodes as a case needs.
pub trait BusUnderTest: Send + Sync {
    /// Makes the bus of one more node. The nodes of one subject receive each other's messages, and none of another subject.
    fn bus(&self) -> Arc<dyn Bus>;

    /// Returns the control of the engine, for the cases of the part `faults`.
    fn breaker(&self) -> Option<&dyn Breaker> {
        None
    }
}

/// Disconnects all nodes of a subject from the engine, and connects them again.
pub trait Breaker: Send + Sync {
    /// Disconnects all nodes. When this completes, nothing is delivered any more.
    fn cut(&self) -> BoxFuture<'_, ()>;

    /// Restores the engine. When this completes, nodes can connect.
    fn restore(&self) -> BoxFuture<'_, ()>;
}

/// Defines a test for each case of the [conformance suite](crate::testing::bus::cases): `bus_conformance!(subject)`, where the
/// expression makes a [`BusUnderTest`](crate::testing::bus::BusUnderTest) and is evaluated in each test. The optional parts follow it:
/// `leases` if the bus has [`Leases`](crate::cluster::Leases), `history` if it has a
/// [`HistoryStore`](crate::cluster::HistoryStore), and `faults` if the subject has a [`Breaker`](crate::testing::bus::Breaker)
/// and the bus has leases; `history_faults` if it has a breaker and the bus has a store.
///
/// The tests run in real time, on two threads. Each wait has a deadline of 10 s.
#[macro_export]
macro_rules! bus_conformance {
    (@tests $subject:expr; $($case:ident)*) => {
        $(
            #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::testing::bus::cases::$case(&$subject).await
            }
        )*
    };
    (@part base $subject:expr) => {
        $crate::bus_conformance!(@tests $subject;
            up_is_the_first_event
            topics_added_before_run_are_subscribed
            topics_added_while_running_are_subscribed
            every_added_topic_is_confirmed
            a_topic_added_twice_is_removed_once
            a_topic_added_and_removed_in_one_call_is_not_subscribed
            removing_an_unknown_topic_has_no_effect
            a_removed_topic_stops_delivering
            a_topic_added_again_delivers_again
            a_topic_removed_and_added_at_once_stays_subscribed
            a_thousand_single_changes_are_all_subscribed
            ten_thousand_topics_are_subscribed
            payloads_arrive_unchanged
            a_large_message_arrives
            a_message_over_the_limit_is_refused_and_its_batch_is_sent
            topic_names_are_exact
            all_subscribers_receive_a_message
            one_publisher_keeps_its_order
            messages_keep_the_order_of_the_calls
            two_publishers_keep_their_orders
            many_tasks_keep_their_orders
            dropping_the_future_of_publish_cancels_nothing
            an_empty_batch_has_no_outcomes
            each_message_has_its_outcome
            a_message_without_subscribers_is_sent
            receivers_are_counted_once_per_node
            own_messages_do_not_disturb_those_of_others
            a_late_subscriber_receives_later_messages_only
            a_slow_node_receives_a_gap_for_lost_messages
            before_run_nothing_is_sent
            stop_ends_the_bus
            after_the_end_nothing_is_sent
            dropping_the_future_of_run_ends_the_bus
        );
    };
    (@part leases $subject:expr) => {
        $crate::bus_conformance!(@tests $subject;
            a_later_incarnation_is_larger
            an_incarnation_from_the_future_is_exceeded
            concurrent_incarnations_are_unique
            a_renewed_lease_makes_its_node_alive
            an_expired_lease_is_reported_once
            an_expired_node_learns_that_it_had_expired
            renewals_prolong_a_lease
            a_released_lease_does_not_expire
            a_lease_renewed_after_its_release_had_not_expired
            two_incarnations_of_a_name_have_two_leases
            node_names_are_exact
            three_hundred_nodes_are_alive
        );
    };
    (@part faults $subject:expr) => {
        $crate::bus_conformance!(@tests $subject;
            the_loss_of_the_engine_is_an_event
            the_return_of_the_engine_restores_subscriptions
            topics_added_without_an_engine_are_subscribed_later
            topics_removed_without_an_engine_are_not_subscribed_later
            without_an_engine_nothing_is_sent
            each_return_of_the_engine_is_a_new_session
            stop_ends_a_bus_without_an_engine
            without_an_engine_no_lease_is_confirmed
        );
    };
    (@part history $subject:expr) => {
        $crate::bus_conformance!(@tests $subject;
            offsets_are_contiguous_over_two_nodes
            subscribers_receive_messages_in_the_order_of_their_offsets
            batches_are_appended_in_their_order
            messages_are_appended_in_the_order_of_the_calls
            appends_and_publishes_keep_the_order_of_the_calls
            dropping_the_future_of_append_cancels_nothing
            an_empty_batch_appends_nothing
            a_repeated_message_keeps_its_position
            a_repeated_message_that_is_not_found_is_appended
            the_first_message_brings_the_epoch
            reading_returns_what_is_behind_a_position
            a_restart_begins_a_history_anew
            a_history_is_begun_once
            messages_have_ages
            a_history_expires
            a_message_prolongs_its_history
            a_history_keeps_a_number_of_messages
            a_history_keeps_a_number_of_bytes
            a_history_without_a_message_ends
            a_history_may_have_no_limits
            a_large_message_is_kept
            messages_are_kept_unchanged
            each_topic_has_its_history
            of_several_nodes_one_replaces_a_record
            a_record_of_a_later_version_stays
            records_are_kept_unchanged
            a_record_expires
            a_bus_that_does_not_run_appends_nothing
        );
    };
    (@part history_faults $subject:expr) => {
        $crate::bus_conformance!(@tests $subject;
            without_an_engine_nothing_is_appended
            no_position_is_given_twice
        );
    };
    ($subject:expr $(, $part:ident)* $(,)?) => {
        $crate::bus_conformance!(@part base $subject);
        $($crate::bus_conformance!(@part $part $subject);)*
    };
}
