//! Messages of remote procedure calls.

use super::pubsub::{Answered, Match};
use crate::wamp::element::Name;
use crate::wamp::message::body::{message, options};
use crate::wamp::{Id, Payload, Text};

message! {
    /// `[REGISTER, Request|id, Options|dict, Procedure|uri]`
    Register<'a> {
        request: Id,
        options: RegisterOptions,
        procedure: Text<'a>,
    }
}

options! {
    /// How a callee wants to be called.
    RegisterOptions {
        "match" match_policy: Option<Match>,
        "invoke" invoke: Option<Invoke>,
        /// How many calls the callee takes at a time; 0 or absent: no limit.
        "concurrency" concurrency: Option<u64>,
        /// Whether the callee wants to know who calls.
        "disclose_caller" disclose_caller: bool,
        /// Whether whoever had registered it loses it.
        "force_reregister" force_reregister: bool,
        /// Whether it folds events of the topic instead of answering calls (fox-wamp).
        "reducer" reducer: bool,
    }
}

/// Which of several callees gets a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Invoke {
    #[default]
    Single,
    First,
    Last,
    RoundRobin,
    Random,
    /// The one with the fewest calls; not in the standard.
    Load,
}

impl Name for Invoke {
    const WANTED: &'static str = "single, first, last, roundrobin, random or load";
    const NAMES: &'static [(&'static str, Invoke)] = &[
        ("single", Invoke::Single),
        ("first", Invoke::First),
        ("last", Invoke::Last),
        ("roundrobin", Invoke::RoundRobin),
        ("random", Invoke::Random),
        ("load", Invoke::Load),
    ];
}

message! {
    /// `[REGISTERED, REGISTER.Request|id, Registration|id]`
    Registered {
        request: Id,
        registration: Id,
    }
}

message! {
    /// `[UNREGISTER, Request|id, REGISTERED.Registration|id]`
    Unregister {
        request: Id,
        registration: Id,
    }
}

message! {
    /// `[UNREGISTERED, UNREGISTER.Request|id]`, or with request 0 and details when the router ended it.
    Unregistered<'a> {
        request: Answered,
    } tail {
        revoked: Option<RegistrationRevoked<'a>>,
    }
}

options! {
    /// Which registration the router ended, and why.
    RegistrationRevoked<'a> {
        "registration" registration: Option<Id>,
        "reason" reason: Option<Text<'a>>,
    }
}

message! {
    /// `[CALL, Request|id, Options|dict, Procedure|uri, Args|list, Kwargs|dict]`
    Call<'a> {
        request: Id,
        options: CallOptions<'a>,
        procedure: Text<'a>,
    } tail {
        payload: Payload<'a>,
    }
}

options! {
    /// What a caller wants of its call.
    CallOptions<'a> {
        /// Whether the caller takes results in parts.
        "receive_progress" receive_progress: bool,
        /// Whether more arguments of this call follow.
        "progress" progress: bool,
        /// Milliseconds after which the call is ended; 0 or absent: never.
        "timeout" timeout: Option<u64>,
        /// Whether the callee is told who calls.
        "disclose_me" disclose_me: bool,
        "ppt_scheme" ppt_scheme: Option<Text<'a>>,
        "ppt_serializer" ppt_serializer: Option<Text<'a>>,
        "ppt_cipher" ppt_cipher: Option<Text<'a>>,
        "ppt_keyid" ppt_keyid: Option<Text<'a>>,
    }
}

message! {
    /// `[CANCEL, CALL.Request|id, Options|dict]`
    Cancel {
        request: Id,
        options: CancelOptions,
    }
}

options! {
    /// How a caller wants its call to end.
    CancelOptions {
        "mode" mode: Option<CancelMode>,
    }
}

/// What becomes of a call that is canceled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CancelMode {
    /// The caller is answered at once, the callee is not told.
    Skip,
    /// The callee is told and its answer waited for.
    Kill,
    /// The caller is answered at once and the callee told.
    KillNoWait,
}

impl Name for CancelMode {
    const WANTED: &'static str = "skip, kill or killnowait";
    const NAMES: &'static [(&'static str, CancelMode)] =
        &[("skip", CancelMode::Skip), ("kill", CancelMode::Kill), ("killnowait", CancelMode::KillNoWait)];
}

message! {
    /// `[RESULT, CALL.Request|id, Details|dict, Args|list, Kwargs|dict]`
    CallResult<'a> {
        request: Id,
        details: ResultDetails<'a>,
    } tail {
        payload: Payload<'a>,
    }
}

options! {
    /// Of a result.
    ResultDetails<'a> {
        /// Whether more results follow.
        "progress" progress: bool,
        "ppt_scheme" ppt_scheme: Option<Text<'a>>,
        "ppt_serializer" ppt_serializer: Option<Text<'a>>,
        "ppt_cipher" ppt_cipher: Option<Text<'a>>,
        "ppt_keyid" ppt_keyid: Option<Text<'a>>,
    }
}

message! {
    /// `[INVOCATION, Request|id, REGISTERED.Registration|id, Details|dict, Args|list, Kwargs|dict]`
    Invocation<'a> {
        request: Id,
        registration: Id,
        details: InvocationDetails<'a>,
    } tail {
        payload: Payload<'a>,
    }
}

options! {
    /// Of a call, for the callee.
    InvocationDetails<'a> {
        "receive_progress" receive_progress: bool,
        "progress" progress: bool,
        /// Milliseconds the caller waits.
        "timeout" timeout: Option<u64>,
        "caller" caller: Option<Id>,
        "caller_authid" caller_authid: Option<Text<'a>>,
        "caller_authrole" caller_authrole: Option<Text<'a>>,
        "trustlevel" trustlevel: Option<u64>,
        /// The procedure called, for registrations of patterns.
        "procedure" procedure: Option<Text<'a>>,
        "ppt_scheme" ppt_scheme: Option<Text<'a>>,
        "ppt_serializer" ppt_serializer: Option<Text<'a>>,
        "ppt_cipher" ppt_cipher: Option<Text<'a>>,
        "ppt_keyid" ppt_keyid: Option<Text<'a>>,
    }
}

message! {
    /// `[INTERRUPT, INVOCATION.Request|id, Options|dict]`
    Interrupt<'a> {
        request: Id,
        options: InterruptOptions<'a>,
    }
}

options! {
    /// How and why a call was ended.
    InterruptOptions<'a> {
        "mode" mode: Option<CancelMode>,
        /// Why, as an error URI.
        "reason" reason: Option<Text<'a>>,
    }
}

message! {
    /// `[YIELD, INVOCATION.Request|id, Options|dict, Args|list, Kwargs|dict]`
    Yield<'a> {
        request: Id,
        options: YieldOptions<'a>,
    } tail {
        payload: Payload<'a>,
    }
}

options! {
    /// Of a result, from the callee.
    YieldOptions<'a> {
        /// Whether more results follow.
        "progress" progress: bool,
        "ppt_scheme" ppt_scheme: Option<Text<'a>>,
        "ppt_serializer" ppt_serializer: Option<Text<'a>>,
        "ppt_cipher" ppt_cipher: Option<Text<'a>>,
        "ppt_keyid" ppt_keyid: Option<Text<'a>>,
    }
}
