//! What must outlive a node: the contract and its backends.

pub mod contract;

pub use contract::*;
