//! Promise: what was acknowledged survives any death of the node, in order, and QoS 2 comes once.

mod canary;
mod client;
mod fault_points;
mod kept;
mod kill;
mod publisher;
mod subscriber;
mod traffic;
