//! Links between endpoints of one process, over real QUIC.

mod barriers;
mod interest;
mod members;
mod messages;
mod pressure;
mod refusals;
mod speed;
mod testbed;
