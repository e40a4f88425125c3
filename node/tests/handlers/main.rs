//! Promise: what users upload as handlers is called with the messages it is bound to, each effectively once from a stream.

mod bound;
mod commands;
mod crashed;
mod scene;
mod uploads;
mod versions;
