//! Promise: what a stream has captured is read by any MQTT client, from any place on, as fast as it takes it.

#[path = "../clients/tools.rs"]
#[expect(dead_code, reason = "clients here run to their end")]
mod tools;

#[path = "../streams_admin/scene.rs"]
#[expect(dead_code, reason = "what is tested here takes less")]
mod administered;

mod bounds;
mod client;
mod consuming;
mod deaths;
mod levels;
mod names;
mod once;
mod reading;
mod restart;
mod scene;
mod scripts;
mod sessions;
