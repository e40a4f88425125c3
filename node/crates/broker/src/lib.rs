//! The broker: sessions, topics and the one door every message passes.
//!
//! Read a publish top to bottom: [`publish`] (the door) -> [`routes`] (who wants it) -> the store, if
//! it must be kept -> [`fanout`] -> [`outbox`] of each receiver. Nothing on that path crosses a
//! mailbox. What has a life is an actor: session shards, topic shards, timers, under [`supervisor`].

pub mod addressed;
pub mod admin;
pub mod binding;
pub mod broker;
pub mod calls;
pub mod clock;
pub mod config;
pub mod explain;
pub mod fanout;
pub mod form;
pub mod ledger;
pub mod limited;
pub mod metrics;
mod mirror;
pub mod outbox;
pub mod peers;
pub mod pressure;
pub mod publication;
pub mod publish;
pub mod realm;
pub mod retained;
pub mod routes;
pub mod session;
pub mod share;
pub mod slow;
pub mod stream;
pub mod supervisor;
pub mod sync;
pub mod sys;
pub mod timers;
pub mod topic;

pub use broker::{Broker, StartError};
pub use config::Config;
pub use form::{Form, Publish};
pub use limited::Limit;
pub use realm::{Compat, Realm, RealmRules, RetainedRule};
pub use session::Session;

/// The words of the layers below, for those above: the gateway speaks to the broker only.
pub use {weir_access as access, weir_runtime as runtime, weir_store as store};
