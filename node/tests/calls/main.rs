//! Remote procedure calls end to end: the command, clients nobody here wrote, and several nodes.

mod cluster;
mod command;
mod scene;
