//! Promise: programs and people make, write, read and consume streams by gRPC and by `weir stream`.

mod commands;
mod consume;
mod define;
mod faults;
mod groups;
mod publish;
mod read;
mod scene;
