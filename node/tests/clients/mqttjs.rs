//! The checks of mqtt.js and ws (Node.js), one test each.

use crate::script::{Script, checks, compare};

checks! {
    messages: Script::MqttJs, over ALL_FOUR, with [],
    mqtt_5_delivers_every_qos_once,
    mqtt_311_delivers_every_qos_once,
    properties_arrive_as_they_were_sent,
    a_pubrec_says_whether_anybody_heard,
    large_and_binary_payloads_arrive_whole,
    a_message_s_life_is_told_and_ends,
    a_request_finds_its_answer,
    a_will_is_published_with_its_properties,
    delayed_messages_come_later_than_those_sent_after_them,
}

checks! {
    order: Script::MqttJs, over EVERYWHERE, with [],
    ten_thousand_messages_keep_their_order_at_qos_0,
    ten_thousand_messages_keep_their_order_at_qos_1,
    ten_thousand_messages_keep_their_order_at_qos_2,
}

checks! {
    aliases: Script::MqttJs, over EVERYWHERE, with [],
    a_client_s_aliases_stand_for_their_topics,
    the_broker_s_aliases_stand_for_their_topics,
    a_client_that_wants_no_aliases_is_given_none,
}

checks! {
    subscriptions: Script::MqttJs, over EVERYWHERE, with [],
    overlapping_filters_deliver_once_with_all_ids,
    no_local_and_retain_as_published_are_kept,
    retain_handling_is_kept,
    two_thousand_retained_messages_arrive_by_one_filter,
    an_empty_payload_takes_a_retained_message_away,
    members_of_a_group_share_the_work,
    a_lost_member_s_work_is_done_by_others,
    unsubscribing_ends_delivery,
    everything_leaves_the_broker_s_own_topics_out,
}

checks! {
    sessions: Script::MqttJs, over EVERYWHERE, with [],
    a_kept_session_gets_what_came_while_it_was_away,
    a_clean_start_finds_nothing,
    an_expiry_given_at_disconnect_counts,
    an_expired_session_is_gone,
    a_second_connection_takes_the_first_one_s_place,
    a_nameless_client_is_told_its_name,
    what_is_too_large_for_a_client_is_left_out,
    a_packet_too_large_for_the_broker_ends_with_0x95,
    a_delayed_will_waits_for_the_session,
    a_stopping_broker_says_0x8b,
}

checks! {
    handmade: Script::MqttJs, over EVERYWHERE, with [],
    more_unreleased_messages_than_the_receive_maximum_end_with_0x93,
    unanswered_messages_stay_within_the_receive_maximum,
    a_repeated_qos_2_publish_is_delivered_once,
    a_qos_2_delivery_goes_on_where_it_stopped,
    a_pubrec_that_refuses_ends_the_delivery,
    an_unknown_packet_id_is_answered_with_0x92,
    an_expiry_of_zero_may_not_be_raised_at_disconnect,
    many_packets_in_one_write_are_answered_in_order,
    a_client_that_said_goodbye_may_be_back_before_its_socket_is_closed,
}

checks! {
    websocket: Script::MqttJs, over WEBSOCKETS, with [],
    the_subprotocol_mqtt_is_chosen,
    several_packets_in_one_frame_are_all_taken,
    a_packet_may_be_split_over_frames,
    a_fragmented_frame_is_taken_with_a_ping_between,
    a_text_frame_is_refused_with_1003,
    a_goodbye_closes_the_websocket_with_1000,
    a_wrong_path_is_404_and_a_wrong_subprotocol_400,
}

checks! {
    websocket_limits: Script::MqttJs, over WEBSOCKETS, with [("net.ws_frame_bytes_max", "65536")],
    a_huge_frame_is_refused_with_1009,
}

#[test]
fn every_check_of_the_script_has_a_test() {
    let modules = [
        messages::NAMES,
        order::NAMES,
        aliases::NAMES,
        subscriptions::NAMES,
        sessions::NAMES,
        handmade::NAMES,
        websocket::NAMES,
        websocket_limits::NAMES,
    ];
    compare(Script::MqttJs, &modules);
}
