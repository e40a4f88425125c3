//! What the MQTT codec promises, seen from outside.

mod golden;
mod oracle;
mod pool;
mod refused;
mod roundtrip;
