//! The checks of paho-mqtt (Python), one test each.

use crate::script::{Script, checks, compare};

checks! {
    delivery: Script::Paho, over ALL_FOUR, with [],
    mqtt_5_carries_every_qos_both_ways,
    mqtt_311_carries_every_qos_both_ways,
    versions_hear_each_other,
    a_publisher_s_order_holds_at_every_qos,
    large_payloads_arrive_whole,
    payloads_are_bytes_of_any_kind,
    topics_may_have_128_levels_and_no_more,
    topics_are_unicode,
    wildcards_match_as_the_standard_says,
    overlapping_filters_deliver_once,
    unsubscribing_ends_delivery_and_says_what_was_there,
    an_acknowledgement_says_whether_anybody_heard,
    filters_that_are_none_are_refused_one_by_one,
}

checks! {
    properties: Script::Paho, over EVERYWHERE, with [],
    a_message_keeps_its_properties,
    a_message_without_properties_arrives_without,
    text_that_is_not_utf_8_is_refused_with_0x99,
    a_request_is_answered_where_it_asks,
    subscription_ids_come_back_all_of_them_with_one_copy,
    a_new_subscription_replaces_id_and_options_of_the_old,
    no_local_keeps_a_client_s_own_messages_away,
    retain_as_published_keeps_the_flag,
    an_alias_stands_for_its_topic,
    an_alias_beyond_the_maximum_ends_the_connection_with_0x94,
    an_alias_nobody_set_ends_the_connection_with_0x82,
    a_message_s_remaining_life_is_told_and_ends,
    a_live_message_tells_its_whole_life,
}

checks! {
    sessions: Script::Paho, over EVERYWHERE, with [],
    mqtt_5_sessions_keep_what_comes_while_away_in_order,
    mqtt_311_sessions_keep_what_comes_while_away_in_order,
    a_dropped_connection_leaves_the_session,
    a_clean_start_forgets_the_session,
    a_session_without_expiry_ends_with_its_connection,
    a_session_ends_when_its_expiry_has_passed,
    disconnect_may_change_the_expiry,
    what_was_not_acknowledged_comes_again_marked_dup,
    a_resumed_session_keeps_its_subscriptions_and_their_options,
    unsubscribed_from_a_kept_session_stays_unsubscribed,
    the_newest_connection_of_a_client_id_wins,
    an_old_client_is_taken_over_without_a_word,
    a_session_crosses_from_mqtt_311_to_5_and_back,
    a_client_without_id_is_given_one,
}

checks! {
    retained: Script::Paho, over EVERYWHERE, with [],
    a_retained_message_is_kept_replaced_and_deleted,
    retained_messages_keep_their_properties,
    wildcards_find_retained_messages,
    retain_handling_0_sends_each_time,
    retain_handling_1_sends_to_new_subscriptions,
    retain_handling_2_sends_nothing,
    all_of_2000_retained_messages_arrive_by_one_filter,
    one_subscription_of_many_filters_gets_what_each_finds,
}

checks! {
    shared: Script::Paho, over EVERYWHERE, with [],
    every_member_gets_a_share_and_each_message_one_member,
    an_offline_member_gets_nothing_while_others_are_there,
    a_group_without_anybody_online_queues_for_whoever_comes,
    what_a_member_did_not_acknowledge_is_handed_on,
    an_ended_session_leaves_its_shared_messages_to_the_group,
    what_a_group_queued_comes_as_its_member_asked_for_it,
    groups_and_plain_subscriptions_each_get_theirs,
    a_share_and_a_plain_filter_of_one_client_deliver_each_with_its_id,
    a_shared_subscription_is_sent_nothing_retained,
    no_local_on_a_shared_subscription_ends_the_connection_with_0x82,
    leaving_a_group_leaves_the_others_in_it,
}

checks! {
    wills: Script::Paho, over EVERYWHERE, with [],
    a_broken_connection_publishes_the_will,
    a_retained_will_is_kept,
    a_goodbye_forgets_the_will,
    a_goodbye_with_0x04_publishes_the_will,
    a_taken_over_connection_publishes_its_will,
    a_delayed_will_comes_when_its_delay_has_passed,
    resuming_the_session_cancels_a_delayed_will,
    a_delayed_will_comes_at_the_latest_when_the_session_ends,
    a_clean_start_publishes_a_delayed_will_at_once,
    a_will_has_a_life_of_its_own,
    a_silent_client_is_closed_with_0x8d_and_its_will_published,
    a_client_that_pings_stays,
}

checks! {
    limits: Script::Paho, over EVERYWHERE, with [],
    a_client_s_receive_maximum_bounds_what_is_unanswered,
    the_broker_s_receive_maximum_is_told_and_suffices,
    what_is_larger_than_a_client_takes_is_not_sent_to_it,
    what_is_larger_than_the_broker_takes_ends_the_connection_with_0x95,
    a_granted_limit_stands_in_connack,
    an_unknown_authentication_method_is_refused_with_0x8c,
    a_reason_string_says_what_was_wrong_unless_unwanted,
}

checks! {
    limits_of_keep_alive: Script::Paho, over EVERYWHERE, with [("gateway.keep_alive_seconds_max", "30")],
    server_keep_alive_overrides_the_client_s,
}

checks! {
    limits_of_session_expiry: Script::Paho, over EVERYWHERE, with [("broker.session_expiry_seconds_max", "60")],
    server_session_expiry_overrides_the_client_s,
}

checks! {
    system: Script::Paho, over EVERYWHERE, with [],
    sys_topics_are_kept_and_hidden_from_wildcards,
    nobody_else_publishes_below_sys,
    delayed_messages_come_when_they_are_due,
    a_delayed_retained_message_is_kept_when_it_is_due,
    a_stopping_node_says_goodbye_with_0x8b,
}

#[test]
fn every_check_of_the_script_has_a_test() {
    let modules = [
        delivery::NAMES,
        properties::NAMES,
        sessions::NAMES,
        retained::NAMES,
        shared::NAMES,
        wills::NAMES,
        limits::NAMES,
        limits_of_keep_alive::NAMES,
        limits_of_session_expiry::NAMES,
        system::NAMES,
    ];
    compare(Script::Paho, &modules);
}
