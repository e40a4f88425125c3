//! Handlers: WASM components that turn messages into events, each within its limits.
//!
//! [`Runtime::prepare`] takes an upload and gives a [`Program`]; a [`Pool`] has instances of it for one binding and
//! calls them. What a call wants done comes back as an [`Invocation`]: nothing here publishes or stores anything.

mod bindings;
mod cache;
mod call;
mod check;
mod component;
mod config;
mod digest;
mod engine;
mod guest;
mod instance;
mod limits;
pub mod metrics;
mod outcome;
mod pool;
mod program;
mod refused;
mod runtime;
mod ticker;
mod trial;

pub use call::{Action, Away, Call, Change, Client, Host, Moment, Passing};
pub use config::{Config, Large, Small};
pub use digest::{Digest, NoDigest};
pub use limits::{Isolation, Limits, Settings};
pub use outcome::{Changed, Event, Failure, Invocation, Keyed, Level, LogLine, Passage, Trap, Verdict};
pub use pool::Pool;
pub use program::{Program, World};
pub use refused::{Refused, StartError};
pub use runtime::Runtime;
pub use trial::Trial;
