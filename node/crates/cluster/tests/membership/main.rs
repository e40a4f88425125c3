//! What the cluster promises about who is a member, with nodes that each have a runtime of their own.

mod changes;
mod counted;
mod nodes;
mod refused;
