//! Who you are and what you may do: the questions the rest of Weir asks, answered once per
//! connection (authentication) and once per canonical topic (authorization).
//!
//! [`Access`] is the one handle. Behind it stand a chain of [`Authenticator`]s and one [`Policy`],
//! both replaced as a whole when what they were read from changes.

mod access;
mod authenticate;
pub mod config;
mod identity;
mod load;
pub mod metrics;
pub mod policy;
mod rights;
mod watch;

pub use access::{Access, Parts};
pub use authenticate::accounts::edit::{AccountError, AccountFile, Listed, NewAccount};
pub use config::{Anonymous, Config, RefusedSubscribe};
pub use identity::{Authenticator, Credentials, Exchange, Grant, Identity, Step};
pub use load::LoadError;
pub use policy::{Action, Explanation, Policy};
pub use rights::PublishRights;
