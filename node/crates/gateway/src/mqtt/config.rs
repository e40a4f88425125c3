//! The `[gateway.mqtt]` section: what MQTT clients share with those of WAMP.

use serde::{Deserialize, Serialize};

/// MQTT beside WAMP.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether a PUBLISH of MQTT 5 with a response topic calls the procedure that is registered at its topic instead of
    /// being published; off by default, so that what a request means does not change when somebody registers its topic.
    pub requests_call: bool,
    /// Whether a user name `somebody@realm` takes its client into that realm, as fox-wamp does.
    pub realm_from_username: bool,
}
