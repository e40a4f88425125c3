//! Promise: operators and programs manage a node or a cluster through one gRPC API and one command.

mod access;
mod accounts;
mod audit;
mod authority;
mod certificates;
mod cluster;
mod commands;
mod configuration;
mod health;
mod limits;
mod lint;
mod names;
mod rebalance;
mod reflection;
mod scene;
mod scopes;
mod sessions;
mod standing;
mod topics;
mod watch;
