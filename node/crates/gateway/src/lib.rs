//! The gateway: gives frames their meaning. One accept loop, one connection loop, a channel per
//! protocol.
//!
//! [`listeners`] accept, [`http`] upgrades, [`connection`] moves bytes between a socket and a channel,
//! [`mqtt`] is the channel of MQTT 3.1, 3.1.1 and 5, [`wamp`] that of WAMP v2,
//! [`hyper`] that of fox-wamp's own protocol.

pub mod config;
pub mod connection;
pub mod drain;
pub mod flapping;
mod gateway;
pub mod health;
pub mod http;
pub mod hyper;
mod limited;
pub mod listeners;
pub mod metrics;
pub mod mqtt;
mod pace;
pub mod wamp;

pub use config::Config;
pub use drain::Elsewhere;
pub use gateway::{Gateway, Listen, Render, StartError};
pub use health::{Health, LookAfter, State};

/// The wire forms a broker must be started with.
pub static FORMS: &[&dyn weir_broker::Form] = &[
    &mqtt::form::MQTT_3,
    &mqtt::form::MQTT_5,
    &wamp::form::ALL[0],
    &wamp::form::ALL[1],
    &wamp::form::ALL[2],
    &wamp::form::ALL[3],
    &wamp::form::ALL[4],
    &wamp::form::ALL[5],
    &wamp::form::ALL[6],
    &hyper::form::HYPER,
];
