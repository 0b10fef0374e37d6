//! The contract that all logs keep.
tidewheel_log_contract::promises!(crate::setup::shared());

/// What is promised of groups, by the newer protocol.
mod newer_groups {
    tidewheel_log_contract::promises! { crate::setup::with_newer_groups() =>
        the_only_member_gets_everything
        a_partition_moves_only_after_its_owner_gave_it_up
        who_leaves_hands_over_at_once
        who_has_nothing_to_do_is_told_so
        added_partitions_are_shared_out
        groups_do_not_know_each_other
    }
}
