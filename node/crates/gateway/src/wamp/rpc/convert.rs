//! Between the words of WAMP and those of calls, which know no protocol.

use bytes::Bytes;
use weir_broker::calls::{Invoke, MatchKind, Payload, Procedure, RegisterError, Sealed, Why};
use weir_wire::wamp::message::{CallOptions, ErrorDetails, Invoke as WireInvoke, Match, YieldOptions};
use weir_wire::wamp::uri::{self, Pattern, Rules, UriError};
use weir_wire::wamp::{Args, Format, Payload as WirePayload, Raw};

/// Set beside the number of a format: the one argument is the body of a message of Hyper, and where it is a list, that
/// list is the arguments for clients of other protocols.
pub const WHOLE: u8 = 0x10;

/// Set beside it as well: parts of results are taken, but were not asked for. Only clients of Hyper send them then.
pub const PROGRESS_UNASKED: u8 = 0x20;

const MARKS: u8 = WHOLE | PROGRESS_UNASKED;

/// The number that stands for a format in payloads.
pub(crate) fn number_of(format: Format) -> u8 {
    match format {
        Format::Json => 0,
        Format::MsgPack => 1,
        Format::Cbor => 2,
    }
}

pub(crate) fn format_of(number: u8) -> Format {
    match number & !MARKS {
        1 => Format::MsgPack,
        2 => Format::Cbor,
        _ => Format::Json,
    }
}

/// The arguments as they came: the one copy that is made of them.
pub(crate) fn taken(payload: &WirePayload<'_>, format: Format, sealed: Option<Sealed>) -> Payload {
    let args = payload.args.as_ref().and_then(|args| match args {
        Args::All(list) => Some(Bytes::copy_from_slice(list.bytes())),
        _ => None,
    });
    Payload {
        format: number_of(format),
        args,
        kwargs: payload.kwargs.map(|kwargs| Bytes::copy_from_slice(kwargs.bytes())),
        sealed: sealed.map(Box::new),
    }
}

/// The arguments to be written: untouched where the receiver speaks the sender's format.
pub(crate) fn given(payload: &Payload) -> WirePayload<'_> {
    let format = format_of(payload.format);
    let args = payload.args.as_ref().map(|args| Raw::checked(format, args));
    let args = match whole(payload) {
        Some(body) if body.is_null() => None,
        Some(body) if body.is_array() => Some(Args::All(body)),
        _ => args.map(Args::All),
    };
    WirePayload::new(args, payload.kwargs.as_ref().map(|kwargs| Raw::checked(format, kwargs)))
}

/// The one value that a payload marked [`WHOLE`] is.
pub(crate) fn whole(payload: &Payload) -> Option<Raw<'_>> {
    let args = payload.args.as_deref().filter(|_| payload.format & WHOLE != 0)?;
    Raw::checked(format_of(payload.format), args).elements().next()
}

/// How a payload is sealed, of whatever message has these four options.
macro_rules! sealed_of {
    ($name:ident, $options:ident) => {
        pub(crate) fn $name(options: &$options<'_>) -> Option<Sealed> {
            let text = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(std::sync::Arc::from);
            options.ppt_scheme.as_ref()?;
            Some(Sealed {
                scheme: text(&options.ppt_scheme),
                serializer: text(&options.ppt_serializer),
                cipher: text(&options.ppt_cipher),
                key_id: text(&options.ppt_keyid),
            })
        }
    };
}

sealed_of!(sealed_call, CallOptions);
sealed_of!(sealed_yield, YieldOptions);
sealed_of!(sealed_error, ErrorDetails);

/// What a REGISTER names, and the topic or filter that access is asked for.
///
/// # Errors
/// It is no URI, or not one that may be registered.
pub(crate) fn procedure(
    uri: &str,
    policy: Match,
    rules: Rules,
) -> Result<(Procedure, std::sync::Arc<str>), UriError> {
    Ok(match policy {
        Match::Exact => {
            let topic: std::sync::Arc<str> = uri::topic(uri, rules)?.as_str().into();
            (Procedure::Exact(topic.clone()), topic)
        }
        Match::Prefix => {
            let pattern = Pattern::new(uri, policy, rules)?;
            (Procedure::Prefix(uri::to_topic_text(uri).into()), pattern.filter().as_str().into())
        }
        Match::Wildcard => {
            let pattern = Pattern::new(uri, policy, rules)?;
            (Procedure::Wildcard(pattern.filter().clone()), pattern.filter().as_str().into())
        }
    })
}

/// The URI of what is registered, as it was.
pub(crate) fn uri_of(procedure: &Procedure) -> String {
    match procedure {
        Procedure::Exact(topic) | Procedure::Prefix(topic) => uri::of_topic(topic).into_owned(),
        Procedure::Wildcard(filter) => {
            let levels = filter.as_str().split('/').map(|level| match level {
                "+" => "".into(),
                level => uri::of_topic(level),
            });
            levels.collect::<Vec<_>>().join(".")
        }
    }
}

/// How it is matched, in the standard's words.
pub(crate) fn match_name(kind: MatchKind) -> &'static str {
    match kind {
        MatchKind::Exact => "exact",
        MatchKind::Prefix => "prefix",
        MatchKind::Wildcard => "wildcard",
    }
}

pub(crate) fn invoke(invoke: Option<WireInvoke>) -> Invoke {
    match invoke.unwrap_or_default() {
        WireInvoke::Single => Invoke::Single,
        WireInvoke::First => Invoke::First,
        WireInvoke::Last => Invoke::Last,
        WireInvoke::RoundRobin => Invoke::RoundRobin,
        WireInvoke::Random => Invoke::Random,
        WireInvoke::Load => Invoke::Load,
    }
}

pub(crate) fn invoke_name(invoke: Invoke) -> &'static str {
    match invoke {
        Invoke::Single => "single",
        Invoke::First => "first",
        Invoke::Last => "last",
        Invoke::RoundRobin => "roundrobin",
        Invoke::Random => "random",
        Invoke::Load => "load",
    }
}

/// The error's URI.
pub(crate) fn error_uri(why: &Why) -> &str {
    match why {
        Why::NoSuchProcedure => "wamp.error.no_such_procedure",
        Why::NoAvailableCallee => "wamp.error.no_available_callee",
        Why::Canceled => "wamp.error.canceled",
        Why::TimedOut => "wamp.error.timeout",
        Why::Unavailable | Why::TooMany => "wamp.error.unavailable",
        Why::Callee(uri) => uri,
    }
}

pub(crate) fn register_error_uri(error: RegisterError) -> &'static str {
    match error {
        RegisterError::AlreadyExists => "wamp.error.procedure_already_exists",
        RegisterError::OtherPolicy => "wamp.error.procedure_exists_with_different_invocation_policy",
        RegisterError::TooMany | RegisterError::Unavailable => "wamp.error.unavailable",
    }
}
