//! What consumer groups promise, on one node and on several that share a store.

mod answers;
mod bed;
mod dead;
mod fences;
mod generations;
mod keeping;
mod life;
mod nodes;
