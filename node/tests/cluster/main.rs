//! Promise: many nodes are one broker: a client cannot tell which of them it is connected to.

mod delivery;
mod dev_cluster;
mod drain;
mod faults;
mod life;
mod membership;
mod scene;
mod sessions;
