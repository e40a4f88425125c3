//! Values of every message type, for the tests that want all of them.

use proptest::collection::vec;
use proptest::prelude::*;
use weir_wire::wamp::message::*;
use weir_wire::wamp::{Args, Format, Id, Limits, Message, Payload, Raw};

use crate::oracle::values;

/// What messages are made of. Each choice is used in many places.
#[derive(Debug)]
pub struct Pool {
    ids: Vec<Id>,
    texts: Vec<String>,
    flags: Vec<bool>,
    args: Vec<u8>,
    kwargs: Vec<u8>,
    value: Vec<u8>,
    number: u64,
}

pub fn pools(format: Format) -> impl Strategy<Value = Pool> {
    let ids = vec((1..=1_u64 << 53).prop_map(|number| Id::new(number).unwrap()), 4);
    let texts = vec("[a-z.]{0,20}|\\PC{0,6}", 6);
    let objects = vec(("[a-z]{1,5}", values()), 0..4)
        .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect()));
    let lists = vec(values(), 0..4).prop_map(serde_json::Value::from);
    (ids, texts, vec(any::<bool>(), 12), lists, objects, values(), 0..1_u64 << 53).prop_map(
        move |(ids, texts, flags, args, kwargs, value, number)| Pool {
            ids,
            texts,
            flags,
            args: in_format(&args, format),
            kwargs: in_format(&kwargs, format),
            value: in_format(&value, format),
            number,
        },
    )
}

fn in_format(value: &serde_json::Value, format: Format) -> Vec<u8> {
    crate::converted(&value.to_string(), format)
}

impl Pool {
    fn id(&self, at: usize) -> Id {
        self.ids[at % self.ids.len()]
    }

    fn text(&self, at: usize) -> weir_wire::wamp::Text<'_> {
        self.texts[at % self.texts.len()].as_str().into()
    }

    fn flag(&self, at: usize) -> bool {
        self.flags[at % self.flags.len()]
    }

    fn some<T>(&self, at: usize, value: T) -> Option<T> {
        self.flag(at).then_some(value)
    }

    fn raw<'a>(&self, bytes: &'a [u8], format: Format) -> Raw<'a> {
        Raw::check(format, bytes, &Limits::default()).unwrap()
    }

    /// Named arguments only beside positional ones, because an empty list takes the place of none.
    fn payload(&self, at: usize, format: Format) -> Payload<'_> {
        let args = Args::All(self.raw(&self.args, format));
        let kwargs = self.some(at, self.raw(&self.kwargs, format));
        Payload::new(self.some(at + 1, args).or(kwargs.map(|_| args)), kwargs)
    }

    /// One message of every type.
    pub fn messages(&self, format: Format) -> Vec<Message<'_>> {
        [self.of_sessions(format), self.of_events(format), self.of_calls(format)].concat()
    }

    fn of_sessions(&self, format: Format) -> Vec<Message<'_>> {
        let roles = Roles {
            publisher: self.some(0, Role::with(&[Feature::PublisherExclusion])),
            broker: self.some(1, Role::default()),
            ..Roles::default()
        };
        let close = CloseDetails { message: self.some(2, self.text(0)) };
        vec![
            Message::Hello(Hello {
                realm: self.text(1),
                details: HelloDetails {
                    roles: Some(roles.clone()),
                    agent: self.some(3, self.text(2)),
                    authmethods: self.some(4, vec![self.text(0), self.text(1)]),
                    authid: self.some(5, self.text(3)),
                    authrole: None,
                    authextra: self.some(6, self.raw(&self.value, format)),
                },
            }),
            Message::Welcome(Welcome {
                session: self.id(0),
                details: WelcomeDetails {
                    roles: Some(roles),
                    authmethod: self.some(7, self.text(4)),
                    ..WelcomeDetails::default()
                },
            }),
            Message::Abort(Abort {
                details: close.clone(),
                reason: self.text(5),
                payload: self.payload(8, format),
            }),
            Message::Goodbye(Goodbye { details: close, reason: self.text(5) }),
            Message::Challenge(Challenge {
                method: self.text(0),
                extra: ChallengeExtra { keylen: self.some(9, self.number), ..ChallengeExtra::default() },
            }),
            Message::Authenticate(Authenticate {
                signature: Secret(self.text(1)),
                extra: self.raw(&self.kwargs, format),
            }),
            Message::Error(Error {
                request_type: MessageType::Invocation,
                request: self.id(1),
                details: ErrorDetails::default(),
                error: self.text(2),
                payload: self.payload(10, format),
            }),
        ]
    }

    fn of_events(&self, format: Format) -> Vec<Message<'_>> {
        let revoked =
            SubscriptionRevoked { subscription: Some(self.id(0)), reason: self.some(0, self.text(0)) };
        vec![
            Message::Publish(Publish {
                request: self.id(0),
                options: PublishOptions {
                    acknowledge: self.flag(0),
                    exclude_me: self.some(1, self.flag(2)),
                    exclude: self.some(3, self.ids.clone()),
                    eligible_authid: self.some(4, vec![self.text(1)]),
                    when: self.some(5, self.raw(&self.value, format)),
                    watch: self.flag(6),
                    ppt_scheme: self.some(7, self.text(2)),
                    ..PublishOptions::default()
                },
                topic: self.text(0),
                payload: self.payload(8, format),
            }),
            Message::Published(Published { request: self.id(1), publication: self.id(2) }),
            Message::Subscribe(Subscribe {
                request: self.id(1),
                options: SubscribeOptions {
                    match_policy: self.some(0, Match::Prefix),
                    retained_state: self.flag(1),
                    filter: self.some(2, self.raw(&self.kwargs, format)),
                    after: self.some(3, self.raw(&self.value, format)),
                    ..SubscribeOptions::default()
                },
                topic: self.text(3),
            }),
            Message::Subscribed(Subscribed { request: self.id(2), subscription: self.id(3) }),
            Message::Unsubscribe(Unsubscribe { request: self.id(2), subscription: self.id(3) }),
            Message::Unsubscribed(Unsubscribed {
                request: self.some(4, self.id(0)),
                revoked: self.some(5, revoked),
            }),
            Message::Event(Event {
                subscription: self.id(0),
                publication: self.id(1),
                details: EventDetails {
                    topic: self.some(6, self.text(4)),
                    publisher: self.some(7, self.id(2)),
                    trustlevel: self.some(8, self.number),
                    retained: self.flag(9),
                    ..EventDetails::default()
                },
                payload: self.payload(10, format),
            }),
        ]
    }

    fn of_calls(&self, format: Format) -> Vec<Message<'_>> {
        let revoked = RegistrationRevoked { registration: self.some(1, self.id(0)), reason: None };
        let result = ResultDetails { progress: self.flag(5), ..ResultDetails::default() };
        vec![
            Message::Register(Register {
                request: self.id(0),
                options: RegisterOptions {
                    match_policy: self.some(0, Match::Wildcard),
                    invoke: self.some(1, Invoke::Random),
                    concurrency: self.some(2, self.number),
                    force_reregister: self.flag(3),
                    ..RegisterOptions::default()
                },
                procedure: self.text(0),
            }),
            Message::Registered(Registered { request: self.id(1), registration: self.id(2) }),
            Message::Unregister(Unregister { request: self.id(1), registration: self.id(2) }),
            Message::Unregistered(Unregistered { request: self.some(0, self.id(3)), revoked: Some(revoked) }),
            Message::Call(Call {
                request: self.id(0),
                options: CallOptions {
                    receive_progress: self.flag(4),
                    timeout: self.some(5, self.number),
                    ..CallOptions::default()
                },
                procedure: self.text(1),
                payload: self.payload(6, format),
            }),
            Message::Cancel(Cancel {
                request: self.id(1),
                options: CancelOptions { mode: self.some(7, CancelMode::KillNoWait) },
            }),
            Message::Result(CallResult {
                request: self.id(2),
                details: result,
                payload: self.payload(8, format),
            }),
            Message::Invocation(Invocation {
                request: self.id(0),
                registration: self.id(1),
                details: InvocationDetails {
                    caller: self.some(9, self.id(2)),
                    procedure: self.some(10, self.text(2)),
                    ..InvocationDetails::default()
                },
                payload: self.payload(11, format),
            }),
            Message::Interrupt(Interrupt {
                request: self.id(3),
                options: InterruptOptions {
                    mode: Some(CancelMode::Kill),
                    reason: self.some(0, self.text(3)),
                },
            }),
            Message::Yield(Yield {
                request: self.id(0),
                options: YieldOptions { progress: self.flag(1), ..YieldOptions::default() },
                payload: self.payload(2, format),
            }),
        ]
    }
}
