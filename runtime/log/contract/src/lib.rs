//! What every log promises, as tests that any implementation runs: each promise is a function of a [`Subject`].
//!
//! ```ignore
//! mod contract {
//!     tidewheel_log_contract::promises!(crate::subject());
//! }
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a promise that is broken panics"
)]

mod groups;
mod reading;
mod subject;
mod transactions;

pub use groups::*;
pub use reading::*;
pub use subject::{Subject, record};
pub use transactions::*;

/// Makes a test of every promise. Takes an expression that makes a future of a subject.
#[macro_export]
macro_rules! promises {
    ($subject:expr) => {
        $crate::promises! { $subject =>
            a_fetch_keeps_to_its_limits_but_brings_at_least_one_record
            a_reader_begins_anywhere_in_the_range_and_nowhere_else
            what_was_deleted_below_is_out_of_range_and_never_comes_back
            the_offset_at_a_time_is_that_of_the_first_record_from_then_on
            a_fetch_that_waits_wakes_when_something_is_appended
            a_fetch_gives_up_waiting_and_knows_that_it_is_at_the_end
            a_fetch_that_is_dropped_loses_nothing
            two_readers_of_a_partition_do_not_disturb_each_other
            a_topic_that_is_not_there_is_none
            a_transaction_is_seen_whole_in_all_partitions
            a_transaction_that_is_refused_leaves_nothing_anywhere
            a_record_that_is_too_large_is_refused
            who_takes_an_id_over_goes_on_from_all_that_was_committed
            a_zombie_cannot_commit
            transactions_leave_gaps_and_plain_appends_do_not
            keys_go_where_kafka_sends_them_and_appends_say_where_that_is
            records_without_a_key_are_spread_over_all_partitions
            a_record_comes_back_as_it_was_written
            append_time_is_the_logs_and_never_decreases
            the_only_member_gets_everything
            a_partition_moves_only_after_its_owner_gave_it_up
            who_leaves_hands_over_at_once
            who_has_nothing_to_do_is_told_so
            added_partitions_are_shared_out
            groups_do_not_know_each_other
        }
    };
    ($subject:expr => $($promise:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                let subject = $subject.await;
                $crate::$promise(&subject).await;
            }
        )*
    };
}
