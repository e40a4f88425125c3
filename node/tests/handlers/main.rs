//! Promise: what users upload as handlers is called with the messages it is bound to, each effectively once from a stream.

#[path = "../clients/tools.rs"]
#[expect(dead_code, reason = "clients here run to their end")]
mod tools;

mod away;
mod bound;
mod commands;
mod crashed;
mod cut;
mod deaths;
mod endings;
mod examples;
mod floods;
mod foreign;
mod middleware;
mod poison;
mod probe;
mod reducers;
mod refused;
mod scene;
mod shares;
mod uploads;
mod versions;
