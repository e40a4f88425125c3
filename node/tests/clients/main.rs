//! Clients nobody here wrote, against the real binary: paho-mqtt, mqtt.js, ws, mosquitto and its tools.
//!
//! `node/docs/conformance.md` says which check stands for which feature. A client that is not there
//! fails its checks by name: `cargo xtask tools` brings them.

mod bridge;
mod conformance;
mod mosquitto;
mod mqttjs;
mod paho;
mod quic;
mod script;
mod tools;
