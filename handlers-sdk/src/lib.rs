//! Handlers for Weir: functions that turn messages into events, run by the broker itself.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use weir_handler::{Event, Failure, Message};
//!
//! #[derive(Deserialize)]
//! struct Ping {
//!     seq: u64,
//! }
//!
//! #[derive(Serialize)]
//! struct Pong {
//!     seq: u64,
//! }
//!
//! fn handle(message: Message) -> Result<Vec<Event>, Failure> {
//!     let ping: Ping = message.json()?;
//!     Ok(vec![Event::to("pong").json(&Pong { seq: ping.seq })?])
//! }
//!
//! weir_handler::command!(handle);
//! ```
//!
//! There are three kinds, each with its macro: [`command!`] (messages in, events out), [`reducer!`] (a state per key
//! that follows from all messages of a stream) and [`middleware!`] (code in the path of connections and messages).
//!
//! What a handler may touch besides its message is in [`kv`], [`log`], [`config`], [`clock`] and [`random`]. In the
//! broker they are the broker's; in a native `cargo test` they are in memory, one world per thread, and `testing`
//! looks into it. The contract behind it is `wit/weir-handler.wit`.

pub mod clock;
mod command;
pub mod config;
mod event;
mod failure;
pub mod kv;
pub mod log;
mod message;
mod middleware;
pub mod random;
#[doc(hidden)]
pub mod reducer;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

#[cfg(target_arch = "wasm32")]
#[path = "host/broker.rs"]
mod host;
#[cfg(not(target_arch = "wasm32"))]
#[path = "host/memory.rs"]
mod host;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;

pub use command::{Events, FromMessage, run};
pub use event::Event;
pub use failure::Failure;
pub use message::Message;
pub use middleware::{Action, Client, Hooks, Passage, Passing, Verdict};
pub use reducer::{Mapped, Merged, Reduced};
