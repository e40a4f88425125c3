//! The contract suite over both backends.

use std::sync::Arc;

use weir_store::{Config, Store, suite};

/// Each promise about limits as a test of each backend with the policy it is about.
macro_rules! limits {
    ($($policy:ident { $($promise:ident),* $(,)? })*) => {
        mod limits_of_memory {
            $($(#[test] fn $promise() {
                weir_store::suite::$promise(&|| {
                    let config = weir_store::suite::limited("memory", weir_store::QueueFull::$policy);
                    weir_store::open(&config, std::path::Path::new("unused")).unwrap().0
                });
            })*)*
        }
        mod limits_of_embedded {
            $($(#[test] fn $promise() {
                let dir = tempfile::tempdir().unwrap();
                weir_store::suite::$promise(&|| {
                    let config = weir_store::suite::limited("embedded", weir_store::QueueFull::$policy);
                    weir_store::open(&config, dir.path()).unwrap().0
                });
            })*)*
        }
    };
}

/// Each promise as a test of each backend.
macro_rules! promises {
    ($($promise:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $promise() { weir_store::suite::$promise(&super::memory); })*
        }
        mod embedded {
            $(#[test] fn $promise() {
                let dir = tempfile::tempdir().unwrap();
                weir_store::suite::$promise(&|| super::embedded(dir.path(), u64::MAX));
            })*
        }
        mod embedded_with_a_checkpoint_after_every_group {
            $(#[test] fn $promise() {
                let dir = tempfile::tempdir().unwrap();
                weir_store::suite::$promise(&|| super::embedded(dir.path(), 1));
            })*
        }
    };
}

fn memory() -> Arc<dyn Store> {
    weir_store::open(&suite::config("memory"), std::path::Path::new("unused")).unwrap().0
}

fn embedded(dir: &std::path::Path, log_bytes_max: u64) -> Arc<dyn Store> {
    let config = Config { log_bytes_max, ..suite::config("embedded") };
    weir_store::open(&config, dir).unwrap().0
}

promises! {
    a_session_is_made_once_and_resumed_with_all_it_had,
    the_newest_connection_fences_the_older_ones,
    a_refused_step_does_nothing_at_all,
    a_session_belongs_to_its_user,
    a_clean_start_begins_with_nothing,
    a_session_that_ends_with_its_connection_is_not_resumed,
    an_expired_session_is_not_resumed,
    an_expiry_does_not_end_a_session_that_was_opened_again,
    an_ended_session_leaves_nothing_and_ending_it_again_is_no_error,
    rows_may_have_been_sent_as_far_as_the_detach_said,
    a_restored_session_says_what_it_is,
    a_closed_store_is_unavailable,
    queue_numbers_are_dense_and_never_repeat,
    an_unknown_session_takes_no_copies,
    a_full_queue_drops_the_oldest_and_counts_exactly,
    a_released_row_keeps_its_number_until_it_is_answered,
    a_released_row_is_not_dropped_for_a_new_message,
    a_page_is_bounded_and_has_at_least_one_row,
    a_known_id_is_a_duplicate_within_the_window,
    one_message_for_many_is_whole_in_every_queue,
    a_received_packet_id_has_one_id_until_it_is_released,
    a_share_group_is_a_queue_that_needs_no_owner,
    submits_of_one_caller_are_applied_in_order,
    a_will_fires_once_under_one_id,
    a_will_s_lifetime_begins_when_it_fires,
    a_cleared_will_does_not_fire,
    a_will_is_due_when_its_delay_is_over,
    a_resumed_session_cancels_its_pending_will,
    a_will_without_delay_fires_when_another_connection_takes_over,
    a_clean_start_fires_the_will_of_the_session_it_ends,
    an_ended_session_still_owes_its_fired_will,
    the_mirror_hears_every_retained_change_in_order_before_the_answer,
    a_restore_tells_the_mirror_what_is_retained_now,
    a_delayed_message_is_due_in_time_under_one_id,
    a_delayed_message_that_comes_again_is_taken_once,
}

limits! {
    DropOldest {
        a_queue_over_the_total_gives_up_its_own_oldest_and_nobody_else_s,
        nothing_is_given_up_for_a_message_that_does_not_fit_even_so,
        the_account_tells_what_came_what_went_and_what_is_here,
        a_delayed_message_counts_until_it_was_published,
        a_topic_over_the_limit_of_retained_messages_is_refused,
        retained_bytes_over_the_limit_are_refused_and_never_what_makes_them_fewer,
        a_publish_whose_retained_message_is_refused_is_kept_by_nobody,
    }
    DropNewest { a_queue_over_the_total_that_keeps_the_old_takes_no_more }
    Refuse { a_queue_over_the_total_refuses_its_publisher }
}
