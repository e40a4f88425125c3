//! What a session asks about calls, handed to the broker: checked, authorized, put into its words.

use std::collections::BTreeMap;
use std::sync::Arc;

use metrics::counter;
use weir_broker::access::Access;
use weir_broker::calls::{
    Answer, CallOptions, CallSession, CancelMode, Delivery, Misfit, RegisterOptions, Sealed, Why,
};
use weir_broker::{Broker, Session};
use weir_model::Principal;
use weir_wire::wamp::message::{
    Call, Cancel, CancelMode as WireCancelMode, Error, ErrorDetails, Feature, Match, Message, MessageType,
    Register, Roles, Unregister, Unregistered, Yield,
};
use weir_wire::wamp::uri::{self, Rules};
use weir_wire::wamp::{Format, Id, Payload};

use super::convert;

/// Most that a callee's concurrency limit can be; above there is none.
const CONCURRENCY_MAX: u64 = u32::MAX as u64;

/// The session that asks.
pub struct Asker<'a> {
    pub broker: &'a Broker,
    pub session: &'a Arc<Session>,
    pub principal: &'a Principal,
    /// Its session id.
    pub id: Id,
    pub role: &'a str,
    pub format: Format,
    /// Set in the format of its payloads.
    pub marks: u8,
    pub rules: Rules,
}

/// A session's part in calls, once it has one.
#[derive(Default)]
pub struct Rpc {
    part: Option<Box<CallSession>>,
    /// Whether it has announced `call_canceling` as a callee.
    interruptible: bool,
    /// Whether it has announced `registration_revocation`.
    hears_revoked: bool,
    /// What is called, by request: fox-wamp's clients hear of a procedure that there is not by its name.
    called: BTreeMap<u64, Box<str>>,
}

/// Where messages go; false: it is too long for the client and was left out.
pub type Say<'a> = dyn FnMut(&Message<'_>) -> bool + 'a;

impl Asker<'_> {
    fn may(&self, right: impl Fn(&Access, &Principal) -> bool) -> bool {
        right(self.broker.access(), self.principal)
    }

    fn taken(&self, payload: &Payload<'_>, sealed: Option<Sealed>) -> weir_broker::calls::Payload {
        let mut taken = convert::taken(payload, self.format, sealed);
        taken.format |= self.marks;
        taken
    }

    fn not_authorized(&self) -> &'static str {
        match self.rules.fox {
            true => "wamp.error.authorization_failed",
            false => "wamp.error.not_authorized",
        }
    }
}

/// An ERROR without arguments.
pub(super) fn refuse(say: &mut Say<'_>, request_type: MessageType, request: Id, uri: &str) -> bool {
    counter!("weir_gateway_wamp_errors_total", "request" => request_type.name()).increment(1);
    say(&Message::Error(Error {
        request_type,
        request,
        details: ErrorDetails::default(),
        error: uri.into(),
        payload: Payload::default(),
    }))
}

/// What a message was to calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is done with, or its answer comes later.
    Done,
    /// It is none of theirs.
    NotMine,
    /// The request id of a call that is not over was used for another one: the session has to end
    /// (`wamp.error.protocol_violation`).
    Violation,
}

impl Rpc {
    /// Of a client with these roles.
    pub fn of(roles: Option<&Roles>) -> Rpc {
        let callee = roles.and_then(|roles| roles.callee.as_ref()).and_then(|role| role.features);
        let has = |feature| callee.is_some_and(|features| features.has(feature));
        Rpc {
            part: None,
            interruptible: has(Feature::CallCanceling),
            hears_revoked: has(Feature::RegistrationRevocation),
            called: BTreeMap::new(),
        }
    }

    /// Takes a message of a session that has been welcomed. Meta procedures are asked for before.
    pub fn take(&mut self, asker: &Asker<'_>, message: &Message<'_>, say: &mut Say<'_>) -> Taken {
        match message {
            Message::Call(call) => {
                if self.call(asker, call, say).is_err() {
                    return Taken::Violation;
                }
            }
            Message::Cancel(cancel) => self.cancel(cancel),
            Message::Register(register) => self.register(asker, register, say),
            Message::Unregister(unregister) => self.unregister(unregister, say),
            Message::Yield(yielded) => self.answer(asker, yielded),
            Message::Error(error) if error.request_type == MessageType::Invocation => {
                self.fail(asker, error);
            }
            _ => return Taken::NotMine,
        }
        Taken::Done
    }

    /// The part, made when it is first needed.
    fn part(&mut self, asker: &Asker<'_>) -> Option<&CallSession> {
        if self.part.is_none() {
            let (broker, session, role) = (asker.broker, asker.session, Some(Arc::from(asker.role)));
            let opened = CallSession::open(broker, session, asker.id.get(), self.interruptible, role);
            self.part = opened.map(Box::new);
        }
        self.part.as_deref()
    }

    /// Calls and answers of one read are said together, by [`Rpc::say_gathered`].
    pub fn gather(&self) {
        if let Some(part) = self.current() {
            part.gather();
        }
    }

    /// False: the request id of a call that is not over was used for another one.
    pub fn say_gathered(&self) -> bool {
        self.current().is_none_or(|part| part.say_gathered().is_ok())
    }

    /// What there is of it.
    fn current(&self) -> Option<&CallSession> {
        self.part.as_deref()
    }

    /// The next that is to be written to the session.
    pub fn next(&self) -> Option<Delivery> {
        self.current()?.take()
    }

    /// The procedure of a call that is over by this.
    pub fn over(&mut self, delivery: &Delivery) -> Option<Box<str>> {
        match delivery {
            Delivery::Result { request, progress: false, .. } | Delivery::Failed { request, .. } => {
                self.called.remove(request)
            }
            _ => None,
        }
    }

    pub fn hears_revoked(&self) -> bool {
        self.hears_revoked
    }

    /// The client cannot take an invocation: its caller hears why.
    pub fn refuse_invocation(&self, invocation: u64, error: &str) {
        if let Some(part) = self.current() {
            let payload = weir_broker::calls::Payload::default();
            let _ = part.answer(invocation, Answer::Failed { why: Why::Callee(error.into()), payload });
        }
    }

    /// The session is over: its calls are canceled, its registrations go.
    pub fn end(&mut self) {
        self.part = None;
    }

    /// `[CALL, ..]`; its answer comes later, or a refusal now.
    ///
    /// # Errors
    /// The request id is in use: a violation of the protocol.
    pub fn call(&mut self, asker: &Asker<'_>, call: &Call<'_>, say: &mut Say<'_>) -> Result<(), Misfit> {
        let mut refuse = |uri: &str| refuse(say, MessageType::Call, call.request, uri);
        let Ok(topic) = uri::topic(&call.procedure, asker.rules) else {
            refuse("wamp.error.invalid_uri");
            return Ok(());
        };
        if !asker.may(|access, principal| access.may_call(principal, topic.as_str())) {
            refuse(asker.not_authorized());
            return Ok(());
        }
        let options = CallOptions {
            receive_progress: call.options.receive_progress,
            progress: call.options.progress,
            timeout_ms: call.options.timeout.unwrap_or(0),
            disclose_me: call.options.disclose_me,
        };
        let Some(part) = self.part(asker) else {
            refuse("wamp.error.unavailable");
            return Ok(());
        };
        let sealed = convert::sealed_call(&call.options);
        let payload = asker.taken(&call.payload, sealed);
        part.call(call.request.get(), topic.as_str().into(), payload, options)?;
        if asker.rules.fox {
            self.called.insert(call.request.get(), (&*call.procedure).into());
        }
        Ok(())
    }

    /// `[CANCEL, ..]`: what is over is left alone.
    pub fn cancel(&mut self, cancel: &Cancel) {
        let mode = match cancel.options.mode {
            Some(WireCancelMode::Skip) => CancelMode::Skip,
            Some(WireCancelMode::Kill) => CancelMode::Kill,
            Some(WireCancelMode::KillNoWait) | None => CancelMode::KillNoWait,
        };
        if let Some(part) = self.current() {
            part.cancel(cancel.request.get(), mode);
        }
    }

    /// `[REGISTER, ..]`
    pub fn register(&mut self, asker: &Asker<'_>, register: &Register<'_>, say: &mut Say<'_>) {
        let mut refuse = |uri: &str| {
            refuse(say, MessageType::Register, register.request, uri);
        };
        let options = &register.options;
        let policy = options.match_policy.unwrap_or(Match::Exact);
        let Ok((procedure, asked)) = convert::procedure(&register.procedure, policy, asker.rules) else {
            return refuse("wamp.error.invalid_uri");
        };
        // The broker's own names are nobody's to answer for.
        if uri::is_reserved(&register.procedure) || asked.starts_with('$') {
            return refuse("wamp.error.invalid_uri");
        }
        if !asker.may(|access, principal| access.may_register(principal, &asked)) {
            return refuse(asker.not_authorized());
        }
        // fox-wamp promises one and has none: whoever counts on it is to hear so.
        if options.reducer {
            return refuse("wamp.error.option_not_allowed");
        }
        let fox = asker.rules.fox;
        let concurrency = options.concurrency.filter(|limit| *limit <= CONCURRENCY_MAX).unwrap_or(0);
        let options = RegisterOptions {
            invoke: if fox { weir_broker::calls::Invoke::First } else { convert::invoke(options.invoke) },
            concurrency: concurrency as u32,
            disclose_caller: options.disclose_caller,
            force: options.force_reregister,
            shares_always: fox,
        };
        match self.part(asker) {
            Some(part) => part.register(register.request.get(), procedure, options),
            None => refuse("wamp.error.unavailable"),
        }
    }

    /// `[UNREGISTER, ..]`
    pub fn unregister(&mut self, unregister: &Unregister, say: &mut Say<'_>) {
        let (request, registration) = (unregister.request, unregister.registration.get());
        let given_up =
            self.current().is_some_and(|part| part.unregister(request.get(), registration).is_ok());
        if !given_up {
            refuse(say, MessageType::Unregister, request, "wamp.error.no_such_registration");
        }
    }

    /// `[YIELD, ..]`: one that nobody asked for, or that comes too late, is counted by the broker and passed over.
    pub fn answer(&mut self, asker: &Asker<'_>, yielded: &Yield<'_>) {
        let sealed = convert::sealed_yield(&yielded.options);
        let payload = asker.taken(&yielded.payload, sealed);
        let answer = match yielded.options.progress {
            true => Answer::Progress(payload),
            false => Answer::Result(payload),
        };
        if let Some(part) = self.current() {
            let _ = part.answer(yielded.request.get(), answer);
        }
    }

    /// `[ERROR, INVOCATION, ..]`
    pub fn fail(&mut self, asker: &Asker<'_>, error: &Error<'_>) {
        let payload = asker.taken(&error.payload, convert::sealed_error(&error.details));
        let why = Why::Callee(Arc::from(&*error.error));
        if let Some(part) = self.current() {
            let _ = part.answer(error.request.get(), Answer::Failed { why, payload });
        }
    }

    /// Whether something waits to be written.
    pub fn has_some(&self) -> bool {
        self.current().is_some_and(CallSession::has_some)
    }
}

/// The answer to an UNREGISTER, or the end of a registration that nobody asked for.
pub(super) fn unregistered<'a>(
    request: Option<Id>,
    revoked: Option<weir_wire::wamp::message::RegistrationRevoked<'a>>,
) -> Message<'a> {
    Message::Unregistered(Unregistered { request, revoked })
}
