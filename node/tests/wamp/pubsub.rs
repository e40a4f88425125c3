//! Publish and subscribe, as autobahn-js sees them, with mqtt.js on the other side.

use crate::script;

#[test]
fn autobahn_js_and_mqtt_js_hear_each_other() {
    script::run("pubsub.mjs", &script::node());
}

#[test]
fn every_serialization_carries_events_to_every_other() {
    script::run("serializations.mjs", &script::node());
}
