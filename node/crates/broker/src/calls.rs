//! Remote procedure calls, for whatever protocol: who is registered, who is called, and that every call gets one
//! final answer.
//!
//! Three nodes may have a part in a call, and one node may have all of them: the caller's, the procedure's home
//! ([`view`]), which picks who answers so that shared registrations and concurrency limits hold in the whole
//! cluster, and the callee's. What they say to each other is [`message`]; what each decides is [`state`], plain
//! structs without IO; [`links`] carries it between nodes. Calls end with their connections and nodes: the other
//! side is told.

mod config;
mod dealer;
mod endpoint;
mod links;
mod mailbox;
mod message;
mod meters;
mod payload;
mod procedure;
mod state;
mod view;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use config::Config;
pub use dealer::{Calls, RegistrationInfo};
pub use endpoint::CallSession;
pub use mailbox::{Delivery, Endpoint, Invocation};
pub(crate) use meters::describe;
pub use payload::{Payload, Sealed};
pub use procedure::{MatchKind, Procedure};

/// Which of several callees gets a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Invoke {
    /// There is one only.
    #[default]
    Single,
    /// The first that is free, in the order of registration.
    First,
    /// The last that is free.
    Last,
    /// In turn.
    RoundRobin,
    Random,
    /// The one with the fewest calls.
    Load,
}

/// What became of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeKind {
    /// Its first callee has come.
    Created,
    Registered,
    Unregistered,
    /// Its last callee has gone.
    Deleted,
}

/// A change of a registration, told by its home once, whatever node the callee is connected to. A home that is lost tells
/// nothing of what it had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationChange {
    pub kind: ChangeKind,
    pub realm: Arc<str>,
    /// The public number of the callee's session.
    pub session: u64,
    pub registration: u64,
    pub procedure: Procedure,
    pub invoke: Invoke,
    /// When the registration was made, as [`RegistrationInfo::created_ms`].
    pub created_ms: u64,
}

/// How a callee registers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RegisterOptions {
    pub invoke: Invoke,
    /// Calls it takes at a time; 0 = no limit. Others wait, first come first served.
    pub concurrency: u32,
    /// Whether it is told who calls, whatever the caller says.
    pub disclose_caller: bool,
    /// Whether whoever had it loses it.
    pub force: bool,
    /// Whether several may register whatever their policies (fox-wamp); the first that is free is called.
    pub shares_always: bool,
}

/// How a caller calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallOptions {
    pub receive_progress: bool,
    /// Further arguments follow.
    pub progress: bool,
    /// Milliseconds it may take; 0 = as long as calls may.
    pub timeout_ms: u64,
    pub disclose_me: bool,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The public number of the session.
    pub session: u64,
    pub user: Option<Arc<str>>,
    pub role: Option<Arc<str>>,
}

/// A call on its way to a callee.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The canonical topic that names the procedure.
    pub topic: Arc<str>,
    pub payload: Payload,
    pub receive_progress: bool,
    pub progress: bool,
    pub caller: Caller,
    pub disclose_me: bool,
}

/// What a callee says to a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Progress(Payload),
    Result(Payload),
    Failed { why: Why, payload: Payload },
}

impl Answer {
    pub fn is_final(&self) -> bool {
        !matches!(self, Answer::Progress(_))
    }

    /// Whether it carries nothing.
    fn is_empty(&self) -> bool {
        let (Answer::Progress(payload) | Answer::Result(payload) | Answer::Failed { payload, .. }) = self;
        *payload == Payload::default()
    }

    fn failed(why: Why) -> Answer {
        Answer::Failed { why, payload: Payload::default() }
    }
}

/// Why a call has no result. Each protocol has its words for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    NoSuchProcedure,
    /// Callees there are, but none can take it.
    NoAvailableCallee,
    /// By its caller, or because its caller, its callee or the node of one is gone.
    Canceled,
    TimedOut,
    /// A node or a link cannot take it now.
    Unavailable,
    /// The session has as many calls without an answer as it may.
    TooMany,
    /// The callee says so, in its own words.
    Callee(Arc<str>),
}

/// What becomes of a call that is canceled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CancelMode {
    /// The caller is answered at once, the callee is not told.
    Skip,
    /// The callee is told and its answer waited for.
    Kill,
    /// The caller is answered at once and the callee told.
    KillNoWait,
}

/// Why there is no registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum RegisterError {
    #[error("the procedure is registered already")]
    AlreadyExists,
    #[error("the procedure is registered with another invocation policy")]
    OtherPolicy,
    #[error("as many registrations as there may be")]
    TooMany,
    #[error("the node that is to keep the registration cannot be reached now")]
    Unavailable,
}

/// What was said does not fit what is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("the number of a call that is not over was used for another one")]
    RequestInUse,
    #[error("there is no such registration of this session")]
    NoSuchRegistration,
    #[error("there is no such invocation of this session, or it is over")]
    NoSuchInvocation,
}
