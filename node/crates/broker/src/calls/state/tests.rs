//! What callers and callees may count on, of one node and of several.

mod alone;
mod random;
mod world;
