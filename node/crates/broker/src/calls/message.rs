//! What the three parts of a call say to each other, on one node or over links: the caller's node, the procedure's
//! home, which picks who answers, and the callee's node.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Answer, CancelMode, Invoke, Offer, Payload, Procedure, RegisterError, Why};

/// A call, by the node of its caller and a number that node gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CallId {
    pub node: u64,
    pub number: u64,
}

/// A registration as its home knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registering {
    pub procedure: Procedure,
    pub invoke: Invoke,
    /// Calls it takes at a time; 0 = no limit.
    pub concurrency: u32,
    /// Whether several may register whatever their policies.
    pub shares_always: bool,
    /// Whether whoever had it loses it.
    pub force: bool,
    /// Whether the callee can be told to stop.
    pub interruptible: bool,
    /// The number of the session, for those who ask.
    pub session: u64,
    /// It was registered before, and has a new home.
    pub again: bool,
    /// When the session registered, in Unix milliseconds by its node's clock.
    pub since_ms: u64,
}

/// One message. A node that does not know one passes it over, so new ones come last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    // From the caller's node to the home, or from home to home.
    Call {
        call: CallId,
        offer: Box<Offer>,
        at: Stage,
        hops: u8,
    },
    /// Further arguments of a call.
    More {
        call: CallId,
        payload: Payload,
        last: bool,
    },
    Cancel {
        call: CallId,
        mode: CancelMode,
        why: Why,
    },
    // From the home to the caller's node.
    /// The sender sees to the call now, which came to it after so many hops: several may come in any order.
    Moved {
        call: CallId,
        hops: u8,
    },
    Answered {
        call: CallId,
        answer: Answer,
    },
    // From the callee's node to the home. A slot is the callee's node's number of a registration.
    Register {
        slot: u64,
        registering: Box<Registering>,
    },
    Unregister {
        slot: u64,
    },
    Yielded {
        call: CallId,
        answer: Answer,
    },
    /// The callee cannot take it.
    Refused {
        call: CallId,
        slot: u64,
        offer: Box<Offer>,
    },
    // From the home to the callee's node.
    Registered {
        slot: u64,
        result: Result<(), RegisterError>,
    },
    Revoked {
        slot: u64,
    },
    Invoke {
        call: CallId,
        slot: u64,
        offer: Box<Offer>,
    },
    InvokeMore {
        call: CallId,
        payload: Payload,
        last: bool,
    },
    Interrupt {
        call: CallId,
        mode: CancelMode,
        why: Why,
    },
    // From the callee's node to the home there was.
    /// As [`Said::Unregister`], for it is registered at another home now.
    Leaves {
        slot: u64,
    },
}

/// Where a call stands on its way to a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// At the home of the very procedure.
    Exact,
    /// At the home of the realm's patterns: there is no exact registration.
    Pattern,
}

/// A message between nodes, with what concerns the nodes themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Letter {
    /// The first on a link; `again`: in answer to a first one that came late.
    Begin {
        again: bool,
    },
    /// All registrations are told to the homes they have in this view of the cluster.
    Settled {
        view: u64,
    },
    In {
        realm: Arc<str>,
        said: Said,
    },
}
