//! The codec of Hyper, fox-wamp's own protocol: MessagePack maps back to back on a bare stream.
//!
//! [`Cut`] finds where a message ends however it comes, [`decode`] reads one, [`Reply::append`] writes what is
//! answered. What is published, called with and answered is a *body*: in `data` under `kv`, any value.

mod cut;
mod reply;
mod request;

pub use cut::{Cut, CutError};
pub use reply::{Data, Event, Reply, Task, id_entry};
pub use request::{Body, Command, Options, Outcome, Request, RequestError, WrongField, decode};

/// Numbers of errors, as clients of fox-wamp know them.
pub mod code {
    pub const NO_SUCH_INVOCATION: u64 = 103;
    pub const NO_SUCH_PROCEDURE: u64 = 104;
    pub const NO_SUCH_REGISTRATION: u64 = 105;
    pub const AUTHORIZATION_FAILED: u64 = 108;
    pub const NOT_AUTHORIZED: u64 = 109;
    pub const INVALID_PAYLOAD: u64 = 110;
    pub const INVALID_URI: u64 = 111;
    pub const INVALID_ARGUMENT: u64 = 112;
}
