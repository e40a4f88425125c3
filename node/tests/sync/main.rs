//! Promise: locks, leaders and presence are one publish each, first come first served, and outlive nobody who holds them
//! (`docs/sync.md`).

mod alone;
mod client;
mod cluster;
mod examples;
mod mixed;
mod rollback;
