//! The `[gateway]` section: what a connection may cost and ask.

use serde::{Deserialize, Serialize};
use weir_model::CLIENT_ID_BYTES_MAX;

/// Limits of connections and of MQTT.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Milliseconds a client has to send its CONNECT or HELLO.
    pub connect_timeout_ms: u64,
    /// Most bytes of a CONNECT packet.
    pub connect_bytes_max: usize,
    /// Most bytes of a client id; a longer one is refused with 0x85 (2 in MQTT 3.1.1). 65535 = MQTT's own most.
    pub client_id_bytes_max: usize,
    /// Most bytes of any other packet, told to MQTT 5 clients as maximum packet size.
    pub packet_bytes_max: usize,
    /// Longest keep-alive granted, in seconds; a client that asks for more, or for none, is told
    /// this one (server keep-alive). 0 = whatever the client asks.
    pub keep_alive_seconds_max: u16,
    /// Topic aliases a client may use towards the broker.
    pub topic_alias_max: u16,
    /// Topic aliases the broker uses towards a client, if the client allows that many.
    pub topic_alias_send_max: u16,
    /// Most bytes of answers that may wait for one connection before it is read no further.
    pub answer_bytes_max: usize,
    /// Retained messages looked up for one subscription at a time.
    pub retained_page_messages: usize,
    /// Milliseconds a connection that ends may take to write its last bytes.
    pub goodbye_timeout_ms: u64,
    /// PUBLISH packets a second taken from one connection, with a second's worth at once; beyond, it is
    /// read no further for a moment. 0 = no limit.
    pub messages_per_second_in_max: u64,
    /// Bytes a second read from one connection, with a second's worth at once; beyond, it is read no
    /// further for a moment. 0 = no limit.
    pub bytes_per_second_in_max: u64,
    /// PUBLISH packets a second sent to one connection, with a second's worth at once; beyond, they wait
    /// in its outbox. 0 = no limit.
    pub messages_per_second_out_max: u64,
    /// Bytes a second written to one connection, with a second's worth at once; beyond, they wait in its
    /// outbox. 0 = no limit.
    pub bytes_per_second_out_max: u64,
    /// Connects of one client (user and client id) within `flapping_window_seconds` above which it is
    /// held off; 0 = never.
    pub flapping_connects_max: u32,
    /// Seconds within which the connects of one client are counted.
    pub flapping_window_seconds: u64,
    /// Seconds for which a flapping client is answered 0x97 instead of being let in.
    pub flapping_hold_seconds: u64,
    /// Failed authentications from one address (IPv6: one /64) within `auth_failures_window_seconds`
    /// above which credentials from there are not looked at but answered 0x97; 0 = no limit.
    pub auth_failures_max: u32,
    /// Seconds within which the failed authentications from one address are counted.
    pub auth_failures_window_seconds: u64,
    /// What MQTT clients share with those of WAMP.
    pub mqtt: crate::mqtt::config::Config,
    /// WAMP.
    pub wamp: crate::wamp::config::Config,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            connect_timeout_ms: 10_000,
            connect_bytes_max: 512 << 10,
            client_id_bytes_max: CLIENT_ID_BYTES_MAX,
            packet_bytes_max: 1 << 20,
            keep_alive_seconds_max: 0,
            topic_alias_max: 32,
            topic_alias_send_max: 32,
            answer_bytes_max: 256 << 10,
            retained_page_messages: 256,
            goodbye_timeout_ms: 2_000,
            messages_per_second_in_max: 0,
            bytes_per_second_in_max: 0,
            messages_per_second_out_max: 0,
            bytes_per_second_out_max: 0,
            flapping_connects_max: 30,
            flapping_window_seconds: 10,
            flapping_hold_seconds: 30,
            auth_failures_max: 100,
            auth_failures_window_seconds: 60,
            mqtt: crate::mqtt::config::Config::default(),
            wamp: crate::wamp::config::Config::default(),
        }
    }
}
