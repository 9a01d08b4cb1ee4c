use std::sync::Arc;

use crate::cluster::{BoxFuture, Bus};

/// The implementation under test: an engine of its own, with as many nodes as a case needs.
pub trait Subject: Send + Sync {
    /// The bus of one more node. All of one subject are joined with each other, and with none of another subject.
    fn bus(&self) -> Arc<dyn Bus>;

    /// Returns the means to break the engine, for the cases of the part `faults`.
    fn breaker(&self) -> Option<&dyn Breaker> {
        None
    }
}

/// Takes the engine away from all nodes of a subject, and gives it back.
pub trait Breaker: Send + Sync {
    /// From the end of this on nothing is delivered.
    fn cut(&self) -> BoxFuture<'_, ()>;

    /// From the end of this on nodes can connect again.
    fn restore(&self) -> BoxFuture<'_, ()>;
}

/// Makes a test of each case of the [suite](crate::testing::bus::cases) for a bus: `bus_conformance!(subject)`, where the
/// expression makes a [`Subject`](crate::testing::bus::Subject) and is evaluated for each test. Behind it the optional parts
/// are named that are to be judged too: `leases` if the bus has [`Leases`](crate::cluster::Leases), `faults` if the subject
/// has a [`Breaker`](crate::testing::bus::Breaker).
///
/// Tests run in real time, on two threads. Any wait has a deadline of 10 s.
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
            it_comes_up_first
            interest_before_run_is_subscribed
            interest_while_it_runs_is_subscribed
            every_add_is_answered
            adding_twice_is_adding_once
            what_is_added_and_removed_at_once_is_not_wanted
            removing_what_is_not_wanted_is_nothing
            what_is_removed_stops
            what_is_added_again_comes_again
            what_is_removed_and_added_at_once_goes_on
            many_small_changes_of_interest_are_one_interest
            ten_thousand_topics_are_subscribed
            bytes_arrive_as_they_are
            a_big_message_arrives
            what_is_too_big_is_not_sent_and_holds_up_nothing
            names_are_exact
            two_nodes_receive_the_same
            one_publisher_keeps_its_order
            the_order_is_that_of_the_calls
            two_publishers_keep_their_orders
            many_tasks_keep_their_orders
            a_dropped_future_takes_nothing_back
            an_empty_batch_has_no_outcomes
            each_message_has_its_outcome
            nobody_needs_to_listen
            receivers_are_counted_if_at_all
            an_echo_disturbs_nothing
            who_comes_late_hears_what_comes_later
            a_slow_node_is_told_what_it_missed
            before_run_nothing_is_sent
            stop_ends_it_in_time
            after_the_end_nothing_is_sent
            dropping_it_ends_it
        );
    };
    (@part leases $subject:expr) => {
        $crate::bus_conformance!(@tests $subject;
            a_later_life_has_a_larger_number
            a_life_of_the_future_is_followed
            lives_are_numbered_one_by_one
            who_beats_is_alive
            an_expired_lease_is_told_once
            who_was_expired_is_told
            beats_prolong_a_lease
            who_says_bye_never_expires
            after_bye_the_first_beat_is_a_first_one
            two_lives_of_a_name_are_two_leases
            names_of_nodes_are_exact
            three_hundred_nodes_live
        );
    };
    (@part faults $subject:expr) => {
        $crate::bus_conformance!(@tests $subject;
            losing_the_engine_is_told
            its_return_restores_the_interest
            interest_while_it_is_away_is_subscribed_afterwards
            what_is_removed_while_it_is_away_is_not_subscribed
            while_it_is_away_nothing_is_sent
            it_may_go_again_and_again
            stop_ends_it_while_it_is_away
            without_an_engine_no_lease_is_confirmed
        );
    };
    ($subject:expr $(, $part:ident)* $(,)?) => {
        $crate::bus_conformance!(@part base $subject);
        $($crate::bus_conformance!(@part $part $subject);)*
    };
}
