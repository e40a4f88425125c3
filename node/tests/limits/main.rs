//! Promise: everything that can be queued or kept is bounded, what goes beyond is counted, and one slow client costs
//! the others nothing.

#[path = "../abuse/frames.rs"]
#[allow(dead_code, reason = "shared with the tests of abuse")]
mod frames;

mod incoming;
mod kept;
mod outgoing;
mod scene;
mod sessions;
mod web;
