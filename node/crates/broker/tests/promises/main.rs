//! What a broker promises, with a store that answers only when the test says so.

mod bench;
mod door;
mod identity;
mod ledger;
mod repeats;
mod streams;
