//! The synchronization service: publishes that wait for the retained value of their topic to meet a condition, and that
//! leave it a will (`guarantees.md` 10, `node/docs/sync.md`).
//!
//! What waits at a topic, whose will lies on its value and what was granted and not yet handed out is its [`guard`]:
//! bytes to the store, in the topic's family, changed together with the retained value in one compared step. What to make
//! of both is decided by plain code ([`decide`]) from what the mirror knows; if the store knows something newer, it is
//! decided again. Of a node, one task at a time works on a topic ([`desk`]), so only nodes contend.

pub(crate) mod ask;
pub mod condition;
pub mod conditions;
mod decide;
pub(crate) mod deliver;
pub(crate) mod desk;
mod guard;
mod guards;
mod merge;
pub mod selector;
pub(crate) mod ticket;
pub(crate) mod watch;

pub use condition::{Condition, ConditionError};
pub use conditions::{After, Conditions, Reading, ReadingError, Retained};
pub use merge::merged;
pub use selector::{Selector, Subject};
