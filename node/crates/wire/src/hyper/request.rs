//! What clients say.

use crate::wamp::{DecodeError, Format, Id, Limits, Raw, Text, Value};

/// One message of a client.
#[derive(Debug, Clone, PartialEq)]
pub struct Request<'a> {
    /// What its answer is called by.
    pub id: Option<Id>,
    pub command: Command<'a>,
}

/// What it asks, by `ft`.
#[derive(Debug, Clone, PartialEq)]
pub enum Command<'a> {
    /// `LOGIN {data: {realm}}`; `authid` and `ticket` beside it are ours.
    Login {
        realm: Text<'a>,
        authid: Option<Text<'a>>,
        ticket: Option<Text<'a>>,
    },
    /// `ECHO {data}`
    Echo {
        data: Option<Raw<'a>>,
    },
    /// `PUSH {uri, data, hdr, opt, ack}`
    Push {
        uri: String,
        body: Body<'a>,
        headers: Option<Raw<'a>>,
        options: Options<'a>,
        ack: bool,
    },
    /// `TRACE {uri, opt}`
    Trace {
        uri: String,
        options: Options<'a>,
    },
    /// `UNTRACE {unr}`
    Untrace {
        number: u64,
    },
    /// `REG {uri, opt}`
    Register {
        uri: String,
        options: Options<'a>,
    },
    /// `UNREG {unr}`
    Unregister {
        number: u64,
    },
    /// `CALL {uri, data, hdr, opt}`
    Call {
        uri: String,
        body: Body<'a>,
        headers: Option<Raw<'a>>,
        options: Options<'a>,
    },
    /// `YIELD {qid, rqt, data, hdr}`
    Yield {
        number: u64,
        outcome: Outcome,
        data: Option<Raw<'a>>,
        headers: Option<Raw<'a>>,
    },
    /// `CONFIRM`: nothing comes of it.
    Confirm,
    Goodbye,
}

/// What a callee's YIELD is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Progress,
    Failed,
}

/// What `data` carries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Body<'a> {
    Null,
    /// `{kv}`: a value.
    Value(Raw<'a>),
    /// `{args}`: a list of arguments.
    Args(Raw<'a>),
    /// `{payload}`: the bytes of an MQTT payload.
    Payload(Raw<'a>),
}

/// What `opt` says; what is not known is passed over.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options<'a> {
    pub retain: bool,
    pub when: Option<Raw<'a>>,
    pub watch: bool,
    pub will: Option<Raw<'a>>,
    pub trace: bool,
    pub exclude_me: Option<bool>,
    pub filter: Option<Raw<'a>>,
    pub after: Option<Raw<'a>>,
    pub retained: bool,
    pub retained_state: bool,
    pub snapshot: bool,
    pub receive_progress: bool,
    /// Milliseconds.
    pub timeout: Option<u64>,
    /// `simultaneousTaskLimit`; negative = no limit.
    pub tasks_max: Option<i64>,
    pub reducer: bool,
}

/// Why a message is none, or not a good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Nothing can be answered to it.
    #[error(transparent)]
    Broken(#[from] DecodeError),
    #[error("message is not a map")]
    NotAMap,
    /// It is answered with an error, and that is all.
    #[error("{wrong}")]
    Wrong { id: Option<Id>, wrong: WrongField },
}

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrongField {
    #[error("ft is none of the commands there are")]
    UnknownCommand,
    #[error("{field} is not {wanted}")]
    Not { field: &'static str, wanted: &'static str },
    /// Of the uri.
    #[error("uri {what}")]
    Uri { what: &'static str },
}

/// Reads one message: the bytes that [`super::Cut`] has found.
///
/// # Errors
/// See [`RequestError`].
pub fn decode<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Request<'a>, RequestError> {
    let message = Raw::check(Format::MsgPack, bytes, limits)?;
    if !message.is_map() {
        return Err(RequestError::NotAMap);
    }
    let fields = Fields::of(message);
    let id = match fields.id {
        None => None,
        Some(raw) => match raw.unsigned().and_then(Id::new) {
            Some(id) => Some(id),
            None => return Err(wrong(None, not("id", "a whole number from 1 to 2^53"))),
        },
    };
    let command = fields.command().map_err(|error| wrong(id, error))?;
    let is_answered = !matches!(
        command,
        Command::Yield { .. } | Command::Confirm | Command::Goodbye | Command::Push { ack: false, .. }
    );
    if is_answered && id.is_none() {
        return Err(wrong(None, not("id", "there")));
    }
    Ok(Request { id, command })
}

fn wrong(id: Option<Id>, wrong: WrongField) -> RequestError {
    RequestError::Wrong { id, wrong }
}

fn not(field: &'static str, wanted: &'static str) -> WrongField {
    WrongField::Not { field, wanted }
}

/// The entries of a message; null is none.
#[derive(Default)]
struct Fields<'a> {
    ft: Option<Raw<'a>>,
    id: Option<Raw<'a>>,
    uri: Option<Raw<'a>>,
    data: Option<Raw<'a>>,
    hdr: Option<Raw<'a>>,
    opt: Option<Raw<'a>>,
    ack: Option<Raw<'a>>,
    unr: Option<Raw<'a>>,
    qid: Option<Raw<'a>>,
    rqt: Option<Raw<'a>>,
}

impl<'a> Fields<'a> {
    fn of(message: Raw<'a>) -> Fields<'a> {
        let mut fields = Fields::default();
        for (name, value) in message.entries().filter(|(_, value)| !value.is_null()) {
            let field = match &*name {
                "ft" => &mut fields.ft,
                "id" => &mut fields.id,
                "uri" => &mut fields.uri,
                "data" => &mut fields.data,
                "hdr" => &mut fields.hdr,
                "opt" => &mut fields.opt,
                "ack" => &mut fields.ack,
                "unr" => &mut fields.unr,
                "qid" => &mut fields.qid,
                "rqt" => &mut fields.rqt,
                _ => continue,
            };
            *field = Some(value);
        }
        fields
    }

    fn command(&self) -> Result<Command<'a>, WrongField> {
        let ft = self.ft.and_then(Raw::text).ok_or(WrongField::UnknownCommand)?;
        Ok(match &*ft {
            "LOGIN" => self.login()?,
            "ECHO" => Command::Echo { data: self.data },
            "PUSH" => Command::Push {
                uri: self.uri()?,
                body: body(self.data)?,
                headers: self.headers()?,
                options: self.options()?,
                ack: flag("ack", self.ack)?,
            },
            "TRACE" => Command::Trace { uri: self.uri()?, options: self.options()? },
            "UNTRACE" => Command::Untrace { number: number("unr", self.unr)? },
            "REG" => Command::Register { uri: self.uri()?, options: self.options()? },
            "UNREG" => Command::Unregister { number: number("unr", self.unr)? },
            "CALL" => Command::Call {
                uri: self.uri()?,
                body: body(self.data)?,
                headers: self.headers()?,
                options: self.options()?,
            },
            "YIELD" => Command::Yield {
                number: number("qid", self.qid)?,
                outcome: self.outcome()?,
                data: self.data,
                headers: self.headers()?,
            },
            "CONFIRM" => Command::Confirm,
            "GOODBYE" => Command::Goodbye,
            _ => return Err(WrongField::UnknownCommand),
        })
    }

    fn login(&self) -> Result<Command<'a>, WrongField> {
        let text = |name| self.data.and_then(|data| data.get(name)).and_then(Raw::text);
        let realm = text("realm").ok_or_else(|| not("data.realm", "a text"))?;
        Ok(Command::Login { realm, authid: text("authid"), ticket: text("ticket") })
    }

    /// The segments, as a URI of WAMP.
    fn uri(&self) -> Result<String, WrongField> {
        let uri = |what| WrongField::Uri { what };
        let list = self.uri.filter(|raw| raw.is_array()).ok_or_else(|| uri("is not a list of segments"))?;
        let mut joined = String::new();
        for (at, segment) in list.elements().enumerate() {
            let segment = segment.text().ok_or_else(|| uri("has a segment that is no text"))?;
            if segment.contains('.') {
                return Err(uri("has a segment with a dot"));
            }
            if at > 0 {
                joined.push('.');
            }
            joined.push_str(&segment);
        }
        if joined.is_empty() { Err(uri("is empty")) } else { Ok(joined) }
    }

    fn headers(&self) -> Result<Option<Raw<'a>>, WrongField> {
        match self.hdr {
            Some(headers) if !headers.is_map() => Err(not("hdr", "a map")),
            headers => Ok(headers.filter(|headers| headers.entries().next().is_some())),
        }
    }

    fn outcome(&self) -> Result<Outcome, WrongField> {
        let rqt = self.rqt.and_then(Raw::text);
        Ok(match rqt.as_deref() {
            Some("OK") => Outcome::Done,
            Some("EMIT") => Outcome::Progress,
            Some("ERR") => Outcome::Failed,
            _ => return Err(not("rqt", "OK, EMIT or ERR")),
        })
    }

    fn options(&self) -> Result<Options<'a>, WrongField> {
        let mut options = Options::default();
        let Some(opt) = self.opt else { return Ok(options) };
        if !opt.is_map() {
            return Err(not("opt", "a map"));
        }
        for (name, value) in opt.entries() {
            let given = Some(value).filter(|value| !value.is_null());
            match &*name {
                "retain" => options.retain = flag("opt.retain", given)?,
                "when" => options.when = Some(value),
                "watch" => options.watch = flag("opt.watch", given)?,
                "will" => options.will = Some(value),
                "trace" => options.trace = flag("opt.trace", given)?,
                "exclude_me" => {
                    options.exclude_me = given.map(|_| flag("opt.exclude_me", given)).transpose()?;
                }
                "filter" => options.filter = given,
                "after" => options.after = given,
                "retained" => options.retained = flag("opt.retained", given)?,
                "retainedState" => options.retained_state = flag("opt.retainedState", given)?,
                "snapshot" => options.snapshot = flag("opt.snapshot", given)?,
                "receive_progress" => options.receive_progress = flag("opt.receive_progress", given)?,
                "reducer" => options.reducer = flag("opt.reducer", given)?,
                "timeout" => {
                    let milliseconds = given.map(|raw| number("opt.timeout", Some(raw)));
                    options.timeout = milliseconds.transpose()?;
                }
                "simultaneousTaskLimit" => options.tasks_max = given.map(tasks_max).transpose()?,
                _ => {}
            }
        }
        Ok(options)
    }
}

fn flag(field: &'static str, raw: Option<Raw<'_>>) -> Result<bool, WrongField> {
    match raw.map(Raw::value) {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(value),
        Some(_) => Err(not(field, "true or false")),
    }
}

fn number(field: &'static str, raw: Option<Raw<'_>>) -> Result<u64, WrongField> {
    raw.and_then(Raw::unsigned).ok_or_else(|| not(field, "a whole number"))
}

fn tasks_max(raw: Raw<'_>) -> Result<i64, WrongField> {
    match raw.value() {
        Value::Negative(_) => Ok(-1),
        _ => number("opt.simultaneousTaskLimit", Some(raw)).map(|max| i64::try_from(max).unwrap_or(-1)),
    }
}

fn body(data: Option<Raw<'_>>) -> Result<Body<'_>, WrongField> {
    let Some(data) = data else { return Ok(Body::Null) };
    if let Some(value) = data.get("kv") {
        return Ok(if value.is_null() { Body::Null } else { Body::Value(value) });
    }
    if let Some(args) = data.get("args") {
        return match args.is_array() {
            true => Ok(Body::Args(args)),
            false if args.is_null() => Ok(Body::Null),
            false => Err(not("data.args", "a list")),
        };
    }
    match data.get("payload") {
        Some(payload) if matches!(payload.value(), Value::Binary(_) | Value::Text(_)) => {
            Ok(Body::Payload(payload))
        }
        _ => Err(not("data", "a map with kv, args or payload")),
    }
}
