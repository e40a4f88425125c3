//! Promise: many nodes are one broker: a client cannot tell which of them it is connected to.

mod certificates;
mod delivery;
mod dev_cluster;
mod drain;
mod faults;
mod groups;
mod life;
mod membership;
mod redis_away;
mod redis_full;
mod rollback;
mod scene;
mod sessions;
