//! The load generator behind `weir bench`, and the small MQTT client behind `weir pub` and `weir sub`.
//!
//! [`run`] measures any MQTT broker; [`client`] talks to any.

pub mod args;
pub mod client;
pub mod cluster;
pub mod compare;
pub mod figures;
pub mod handlers;
pub mod report;
pub mod stream;
pub mod wamp;

mod error;
mod generator;
mod local;
mod node;
mod process;
mod redis;
mod scenario;

pub use args::{Args, Scenario};
pub use client::Client;
pub use error::Error;
pub use report::Report;
pub use scenario::run;
