//! What the crate promises from outside: what is taken and what is refused, what a call may do and what it leaves.

mod bombs;
mod built;
mod calls;
mod guests;
mod kept;
mod limits;
mod middleware;
mod node;
mod reducers;
mod uploads;
