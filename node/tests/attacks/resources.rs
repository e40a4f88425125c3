//! Attacks on what the node lives on: open files, the disk, the clock.

mod clock;
mod disk;
mod files;
