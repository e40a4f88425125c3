//! What the broker has for a session about calls, as the messages of WAMP.

use weir_broker::calls::{CancelMode, Delivery, Invocation, Payload, Sealed, Why};
use weir_wire::wamp::message::{
    CallResult, CancelMode as WireCancelMode, Error, ErrorDetails, Interrupt, InterruptOptions,
    Invocation as WireInvocation, InvocationDetails, Message, MessageType, Registered, RegistrationRevoked,
    ResultDetails,
};
use weir_wire::wamp::{Args, Id, Payload as WirePayload, Text, uri};

use super::convert;
use super::requests::{Say, refuse, unregistered};

/// What clients of fox-wamp know errors of callees by.
pub const CALLEE_FAILURE: &str = "wamp.error.callee_failure";

/// What its session is told in its own way.
#[derive(Debug, Clone, Copy)]
pub struct Manner<'a> {
    /// Whether it has announced `registration_revocation`.
    pub hears_revoked: bool,
    /// Whether errors of callees are told as fox-wamp does.
    pub fox: bool,
    /// What the call was of that is over by this, if that is told.
    pub procedure: Option<&'a str>,
}

/// Says one delivery; false: it is too long for the client.
pub fn deliver(delivery: &Delivery, manner: Manner<'_>, say: &mut Say<'_>) -> bool {
    match delivery {
        Delivery::Invocation(invocation) => invoke(invocation, say),
        Delivery::Interrupt { invocation, mode, why } => {
            let Some(request) = Id::new(*invocation) else { return true };
            let options =
                InterruptOptions { mode: Some(mode_of(*mode)), reason: Some(convert::error_uri(why).into()) };
            say(&Message::Interrupt(Interrupt { request, options }))
        }
        Delivery::Result { request, progress, payload } => {
            let Some(request) = Id::new(*request) else { return true };
            let [ppt_scheme, ppt_serializer, ppt_cipher, ppt_keyid] = ppt(payload);
            let details =
                ResultDetails { progress: *progress, ppt_scheme, ppt_serializer, ppt_cipher, ppt_keyid };
            say(&Message::Result(CallResult { request, details, payload: convert::given(payload) }))
        }
        Delivery::Failed { request, why, payload } => {
            let Some(request) = Id::new(*request) else { return true };
            fail(request, why, payload, manner, say)
        }
        Delivery::Registered { request, registration } => {
            let (Some(request), Some(registration)) = (Id::new(*request), Id::new(*registration)) else {
                return true;
            };
            say(&Message::Registered(Registered { request, registration }))
        }
        Delivery::NotRegistered { request, error } => {
            let Some(request) = Id::new(*request) else { return true };
            refuse(say, MessageType::Register, request, convert::register_error_uri(*error))
        }
        Delivery::Unregistered { request, .. } => say(&unregistered(Id::new(*request), None)),
        Delivery::Revoked { registration } if manner.hears_revoked => {
            let reason = Some("wamp.registration.revoked".into());
            say(&unregistered(
                None,
                Some(RegistrationRevoked { registration: Id::new(*registration), reason }),
            ))
        }
        Delivery::Revoked { .. } => true,
    }
}

fn invoke(invocation: &Invocation, say: &mut Say<'_>) -> bool {
    let (Some(request), Some(registration)) = (Id::new(invocation.number), Id::new(invocation.registration))
    else {
        return true;
    };
    let [ppt_scheme, ppt_serializer, ppt_cipher, ppt_keyid] = ppt(&invocation.payload);
    let caller = invocation.caller.as_ref();
    let details = InvocationDetails {
        receive_progress: invocation.receive_progress
            && invocation.payload.format & convert::PROGRESS_UNASKED == 0,
        progress: invocation.progress,
        caller: caller.and_then(|caller| Id::new(caller.session)),
        caller_authid: caller.and_then(|caller| caller.user.as_deref()).map(Text::from),
        caller_authrole: caller.and_then(|caller| caller.role.as_deref()).map(Text::from),
        procedure: invocation.procedure.as_deref().map(uri::of_topic),
        ppt_scheme,
        ppt_serializer,
        ppt_cipher,
        ppt_keyid,
        ..InvocationDetails::default()
    };
    let payload = convert::given(&invocation.payload);
    say(&Message::Invocation(WireInvocation { request, registration, details, payload }))
}

/// The callee's error goes through with its arguments; fox-wamp's clients know one error, whose argument is the other.
fn fail(request: Id, why: &Why, payload: &Payload, manner: Manner<'_>, say: &mut Say<'_>) -> bool {
    let [ppt_scheme, ppt_serializer, ppt_cipher, ppt_keyid] = ppt(payload);
    let details = ErrorDetails { ppt_scheme, ppt_serializer, ppt_cipher, ppt_keyid };
    let error = |error: &str, payload| {
        Message::Error(Error {
            request_type: MessageType::Call,
            request,
            details: details.clone(),
            error: error.to_owned().into(),
            payload,
        })
    };
    match why {
        Why::Callee(uri) if manner.fox && &**uri != CALLEE_FAILURE => {
            say(&error(CALLEE_FAILURE, WirePayload::args(Args::OneText(uri))))
        }
        Why::NoSuchProcedure if manner.procedure.is_some() => {
            let what = no_callee(manner.procedure.unwrap_or_default());
            say(&error(convert::error_uri(why), WirePayload::args(Args::OneText(&what))))
        }
        why => say(&error(convert::error_uri(why), convert::given(payload))),
    }
}

/// How fox-wamp says that nobody has registered a procedure.
pub fn no_callee(procedure: &str) -> String {
    format!("no callee registered for procedure <{procedure}>")
}

fn mode_of(mode: CancelMode) -> WireCancelMode {
    match mode {
        CancelMode::Skip => WireCancelMode::Skip,
        CancelMode::Kill => WireCancelMode::Kill,
        CancelMode::KillNoWait => WireCancelMode::KillNoWait,
    }
}

/// Scheme, serializer, cipher and key of a sealed payload.
fn ppt(payload: &Payload) -> [Option<Text<'_>>; 4] {
    let Some(sealed) = payload.sealed.as_deref() else { return Default::default() };
    let Sealed { scheme, serializer, cipher, key_id } = sealed;
    [scheme, serializer, cipher, key_id].map(|text| text.as_deref().map(Text::from))
}
