//! The machine put together: configuration, start, shutdown and the `weir` command.
//!
//! Only this crate knows everyone. Read [`node`] for what is started in which order, [`place`] for
//! what it is to its peers, [`shutdown`] for how it ends, [`config`] for what can be set.

mod administered;
pub mod cli;
pub mod config;
pub mod health;
pub mod memory;
pub mod node;
pub mod occupant;
pub mod place;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod worst_case;
