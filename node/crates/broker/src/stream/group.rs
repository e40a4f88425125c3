//! Consumer groups: members share the records of a stream, and each record is finished by one of them.
//!
//! Read it from a member outwards: [`member`] takes and answers -> `hub`, all of a group on this node -> [`place`], what
//! a group has read, delivered and finished of one partition. The group's actor (`life`) decides by [`spread`] which
//! partitions are this node's, and takes and gives back their places under fences (`guarantees.md` 6): what a node that
//! slept past its lease still stores is refused, and its answers with it. Delivery is at least once; of one key in order.

mod catalog;
pub mod dead;
pub mod definition;
pub mod effects;
pub mod fault;
mod hub;
mod life;
pub mod manage;
pub mod member;
pub mod place;
pub mod redrive;
pub mod spread;

pub(crate) use catalog::Groups;
pub use definition::{DefinitionError, GroupDefinition};
pub use effects::Effects;
pub use hub::paying::KeptError;
pub(crate) use life::child;
pub use manage::{GroupError, GroupInfo, GroupPartition};
pub use member::{Answers, Batch, Delivered, Ended, Finished, Member, MemberOptions, Receipt, Refused};
pub use place::NotYours;
