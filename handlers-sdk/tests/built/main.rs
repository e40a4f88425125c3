//! What the handlers in `handlers/` do in the broker's runtime, as `cargo xtask handlers` has built them.

mod commands;
mod node;
mod redacting;
mod reducing;
