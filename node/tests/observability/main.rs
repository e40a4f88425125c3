//! Promise: what a node does can be seen from outside, each figure with its meaning, and no secret with it.

mod audit;
mod clients;
mod explain;
mod metrics;
mod secrets;
mod sources;
mod sys;
mod traces;
