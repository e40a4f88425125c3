//! What the crate promises to who writes a handler.

mod commands;
mod host;
mod middleware;
mod reducers;
