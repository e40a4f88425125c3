//! The names of all promises, for the tests of every backend: each macro hands its list to a macro of the caller.

/// Promises of any store: `promise, promise, ...`.
#[macro_export]
macro_rules! each_promise {
    ($run:ident) => {
        $run! {
            a_level_is_proved_or_refused_and_up_to_its_own_a_store_proves_all,
            what_is_asked_for_at_any_level_is_done_once_and_in_order,
            a_refusal_is_the_same_at_any_level,
            a_session_is_made_once_and_resumed_with_all_it_had,
            the_newest_connection_fences_the_older_ones,
            a_refused_step_does_nothing_at_all,
            a_session_belongs_to_its_user,
            a_session_s_owner_is_as_its_last_connection_gave_it,
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
            a_will_that_is_due_is_not_that_of_who_has_come_since,
            a_will_without_delay_fires_when_another_connection_takes_over,
            a_clean_start_fires_the_will_of_the_session_it_ends,
            an_ended_session_still_owes_its_fired_will,
            the_mirror_hears_every_retained_change_in_order_before_the_answer,
            a_restore_tells_the_mirror_what_is_retained_now,
            a_delayed_message_is_due_in_time_under_one_id,
            a_delayed_message_that_comes_again_is_taken_once,
            records_are_read_in_order_each_under_its_own_mark,
            a_record_keeps_its_key_and_all_of_its_message,
            a_partition_that_was_never_made_is_gone,
            names_of_any_kind_and_generations_are_partitions_of_their_own,
            a_repeat_is_answered_with_the_first_place_of_its_record,
            the_oldest_records_go_when_there_are_too_many,
            the_oldest_records_go_when_they_take_too_many_bytes_but_never_the_newest,
            records_that_are_too_old_go_when_their_partition_is_trimmed,
            a_trim_lets_everything_go_up_to_its_position,
            narrower_bounds_hold_at_once,
            compaction_keeps_the_last_record_of_each_key,
            a_sealed_partition_takes_nothing_and_keeps_what_it_has,
            a_dropped_partition_leaves_nothing_behind,
            a_reader_begins_where_it_says,
            a_reader_of_what_was_let_go_is_given_the_next_there_is_and_can_tell,
            a_page_of_records_is_bounded_and_has_at_least_one,
            many_records_are_all_there_in_order_across_pages,
            several_records_of_one_step_are_appended_together,
            a_mirror_hears_of_appended_records_before_the_answer,
            a_group_begins_where_its_first_member_says,
            a_group_s_progress_is_kept_as_it_was_committed,
            an_older_fence_of_a_group_is_refused,
            a_step_with_an_older_fence_does_nothing_at_all,
            a_forgotten_group_is_no_more_and_its_owner_refused,
            a_group_is_moved_only_while_nobody_holds_its_place,
            a_group_below_what_was_let_go_stays_where_it_is,
            groups_of_a_partition_are_told_by_name,
            what_a_handler_commits_is_there_at_once,
            a_refused_commit_of_a_handler_leaves_nothing_of_it,
            a_group_whose_place_nobody_holds_keeps_and_owes_nothing,
            a_kept_value_is_the_last_one_until_it_is_forgotten,
            kept_values_are_walked_in_the_order_of_their_keys,
            what_is_owed_comes_in_order_under_dense_numbers_whatever_was_paid,
            what_is_owed_already_is_not_owed_twice,
            what_is_owed_keeps_all_of_its_message,
            a_group_s_next_owner_finds_what_it_keeps_and_owes,
            a_forgotten_group_and_a_dropped_partition_take_what_they_keep_and_owe_along,
            two_groups_of_a_partition_keep_and_owe_apart,
            what_a_group_keeps_has_its_bounds,
            a_handler_s_step_may_have_hundreds_of_ops,
            a_value_and_its_guard_change_together_when_both_are_as_they_were_seen,
            asking_whether_nothing_has_changed_changes_nothing,
            a_guarded_topic_is_not_retained_past_its_guard,
            values_that_follow_each_other_in_one_step_are_all_told_in_order,
            a_restore_tells_guards_with_the_places_of_their_values,
            a_guard_has_its_bound_and_its_refusal_leaves_the_value_as_it_was,
            of_two_who_saw_the_same_one_is_first,
            guards_are_of_their_realm_and_topic_whatever_these_are_called,
            a_row_changes_only_when_it_is_as_expected,
            of_two_creators_at_once_one_is_first,
            rows_of_tables_are_told_apart_by_table_and_key,
            a_row_s_value_has_its_bound,
            a_mirror_hears_every_change_of_a_row_in_order_before_the_answer,
            an_idempotency_key_stands_for_the_publish_that_took_it_first,
            an_idempotency_key_is_of_its_topic,
            an_idempotency_key_is_free_when_its_time_is_over,
            the_oldest_idempotency_keys_are_forgotten_for_newer_ones,
        }
    };
}

/// Promises about limits, by the policy of a full queue: `Policy { promise, ... } ...`.
#[macro_export]
macro_rules! each_limit {
    ($run:ident) => {
        $run! {
            DropOldest {
                a_queue_over_the_total_gives_up_its_own_oldest_and_nobody_else_s,
                nothing_is_given_up_for_a_message_that_does_not_fit_even_so,
                the_account_tells_what_came_what_went_and_what_is_here,
                a_delayed_message_counts_until_it_was_published,
                a_topic_over_the_limit_of_retained_messages_is_refused,
                retained_bytes_over_the_limit_are_refused_and_never_what_makes_them_fewer,
                a_publish_whose_retained_message_is_refused_is_kept_by_nobody,
                a_record_of_a_publish_whose_retained_message_is_refused_is_not_kept,
            }
            DropNewest { a_queue_over_the_total_that_keeps_the_old_takes_no_more }
            Refuse { a_queue_over_the_total_refuses_its_publisher }
        }
    };
}

/// Promises of a store that nodes share, by how many milliseconds a claim lasts: `5000 { promise, ... } ...`.
#[macro_export]
macro_rules! each_shared_promise {
    ($run:ident) => {
        $run! {
            5000 {
                nodes_that_share_a_store_know_of_each_other,
                what_one_node_does_to_a_session_the_others_hear_in_order,
                a_clean_start_is_heard_at_once_as_a_new_generation,
                share_groups_are_not_mirrored,
                a_mirror_that_caught_up_has_heard_what_any_node_was_answered,
                retained_changes_of_another_node_are_heard_in_order,
                a_node_that_joins_late_is_told_what_is_there_and_whose,
                the_newest_connection_may_be_on_another_node_and_fences_the_older_out,
                a_queue_has_dense_numbers_whichever_node_fills_it,
                a_node_that_leaves_leaves_orphans,
                a_node_that_comes_back_is_another_one,
                a_group_s_place_is_one_node_s_until_it_gives_it_back,
                a_group_s_place_is_free_when_its_owner_has_left_and_the_owner_is_fenced_out,
                a_lost_node_s_group_goes_on_where_it_was,
                a_lost_node_s_outbox_and_values_are_the_next_owner_s,
                what_one_node_appends_the_others_hear_of_and_read,
                what_one_node_puts_in_a_table_the_others_hear_and_late_ones_are_told,
                of_two_nodes_that_create_a_row_at_once_one_is_first,
            }
            3_600_000 {
                a_lost_node_s_sessions_are_orphans_each_given_out_once,
                what_was_just_fired_is_left_to_the_node_that_fired_it,
                a_timer_is_given_to_one_node,
                nodes_that_ask_for_a_few_timers_get_different_ones,
            }
            1 {
                an_orphan_comes_again_until_it_is_dealt_with,
                an_orphan_that_was_opened_again_is_left_alone,
                the_will_of_a_lost_node_s_clean_session_fires_once,
                what_an_outbox_owes_comes_to_another_node_until_it_is_done,
                a_timer_comes_again_to_any_node_until_it_is_dealt_with,
            }
        }
    };
}
