//! Promise: operators and programs manage a node or a cluster through one gRPC API and one command.

mod access;
mod accounts;
mod audit;
mod cluster;
mod commands;
mod configuration;
mod limits;
mod lint;
mod reflection;
mod scene;
mod sessions;
mod topics;
mod watch;
