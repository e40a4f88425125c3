//! Promise: whoever attacks is told the precise code, and the node stays up, serves others, keeps to its memory
//! and can account for every copy. `node/docs/attacks.md` has the table.

#[path = "../abuse/frames.rs"]
mod frames;

mod auth;
mod crowd;
mod flow;
mod framing;
mod pair;
mod properties;
mod resources;
mod scene;
mod sessions;
