//! Handlers: programs that users upload, and the bindings by which messages reach them.
//!
//! A handler is a name with immutable versions (WebAssembly components, named by their digest) and aliases that say which
//! of them counts. A binding ties it to topics or to a stream. Both are rows of the store's tables, so every node knows
//! all of them; programs lie in partitions of their own. Read it from a message inwards: [`live`] (a publish meets a
//! binding) or [`stream`] (a group's member is given records) -> [`versions`] (which program) -> [`work`] (one call, and
//! what is made of it). [`life`] starts and ends what works here.

mod aliases;
mod bind;
mod catalog;
mod chunks;
mod command;
pub mod definition;
pub(crate) mod life;
pub mod live;
pub mod logs;
mod manage;
pub mod middleware;
mod outlet;
mod reduce;
mod secrets;
mod stream;
mod trial;
mod versions;
mod work;

pub use bind::BindingInfo;
pub(crate) use catalog::Bindings;
pub use definition::{
    Alias, Binding, DefinitionError, Handler, Hook, OnFailure, Reduction, Share, Source, Version, Which,
    check_handler_name,
};
pub use logs::{CallResult, Counts, Line};
pub use manage::HandlerError;
pub use trial::{Trial, TrialMessage, TrialOutcome};
