//! Promise: what a stream has captured is read by any MQTT client, from any place on, as fast as it takes it.

#[path = "../clients/tools.rs"]
#[expect(dead_code, reason = "clients here run to their end")]
mod tools;

mod bounds;
mod client;
mod deaths;
mod names;
mod once;
mod reading;
mod scene;
mod scripts;
mod sessions;
