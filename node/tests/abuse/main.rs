//! Promise: bad input gets the answer of the standard, an orderly end, and costs nobody else anything.

mod connecting;
mod filters;
mod frames;
mod packets;
mod pieces;
mod transports;
mod witness;
