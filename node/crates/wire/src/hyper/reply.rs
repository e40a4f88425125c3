//! What clients are told.

use rmp::encode as msgpack;

use crate::wamp::{Format, Id, Raw};

const TAKES_ALL: &str = "a vector takes all bytes";

/// One message to a client.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply<'a> {
    /// Subscribed or registered; `qid` is what it is given up by.
    Ack {
        id: Id,
        qid: u64,
    },
    /// Done; `qid` is the number of a publication, or of a subscription that is over.
    Ok {
        id: Id,
        qid: Option<u64>,
        data: Option<Data<'a>>,
    },
    /// Part of a result.
    Emit {
        id: Id,
        data: Data<'a>,
    },
    Error {
        id: Option<Id>,
        data: Data<'a>,
    },
    Task(Task<'a>),
}

/// A call for a callee.
#[derive(Debug, Clone, PartialEq)]
pub struct Task<'a> {
    /// Of its REG.
    pub id: Id,
    pub uri: &'a str,
    /// What it answers by.
    pub qid: u64,
    pub receive_progress: bool,
    pub headers: Option<Raw<'a>>,
    pub data: Data<'a>,
}

/// An event, without the id of the TRACE it is for.
#[derive(Debug, Clone, PartialEq)]
pub struct Event<'a> {
    pub uri: &'a str,
    /// The publication.
    pub qid: u64,
    /// Who has published.
    pub sid: Option<u64>,
    pub retained: bool,
    pub headers: Option<Raw<'a>>,
    pub data: Data<'a>,
}

/// What `data` is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Data<'a> {
    Null,
    /// `{kv}`
    Value(Raw<'a>),
    Text(&'a str),
    Binary(&'a [u8]),
    /// As it is, without `kv`.
    Plain(Raw<'a>),
    PlainText(&'a str),
    /// `{code, message}`
    Failed {
        code: u64,
        message: &'a str,
    },
    /// The same with a name for a code.
    FailedBy {
        code: &'a str,
        message: &'a str,
    },
}

impl Reply<'_> {
    /// Appends it.
    pub fn append(&self, out: &mut Vec<u8>) {
        match self {
            Reply::Ack { id, qid } => {
                map(out, 3);
                head(out, *id, "ACK");
                unsigned(out, "qid", *qid);
            }
            Reply::Ok { id, qid, data } => {
                map(out, 2 + u32::from(qid.is_some()) + u32::from(data.is_some()));
                head(out, *id, "OK");
                qid.iter().for_each(|qid| unsigned(out, "qid", *qid));
                data.iter().for_each(|data| data.append(out));
            }
            Reply::Emit { id, data } => {
                map(out, 3);
                head(out, *id, "EMIT");
                data.append(out);
            }
            Reply::Error { id, data } => {
                map(out, 3);
                match id {
                    Some(id) => head(out, *id, "ERR"),
                    None => {
                        text(out, "id");
                        nil(out);
                        text(out, "rsp");
                        text(out, "ERR");
                    }
                }
                data.append(out);
            }
            Reply::Task(task) => task.append(out),
        }
    }
}

impl Task<'_> {
    fn append(&self, out: &mut Vec<u8>) {
        map(out, 7);
        head(out, self.id, "TASK");
        uri(out, self.uri);
        unsigned(out, "qid", self.qid);
        options(out, "receive_progress", self.receive_progress);
        headers(out, self.headers);
        self.data.append(out);
    }
}

impl Event<'_> {
    /// Everything behind [`id_entry`]: the same for all who have the subscription.
    pub fn append_behind_id(&self, out: &mut Vec<u8>) {
        text(out, "rsp");
        text(out, "EVENT");
        uri(out, self.uri);
        unsigned(out, "qid", self.qid);
        options(out, "retained", self.retained);
        headers(out, self.headers);
        text(out, "sid");
        match self.sid {
            Some(sid) => msgpack::write_uint(out, sid).map(drop).expect(TAKES_ALL),
            None => nil(out),
        }
        self.data.append(out);
    }
}

/// The beginning of an event, up to its id.
pub fn id_entry(out: &mut Vec<u8>, id: Id) {
    map(out, 8);
    unsigned(out, "id", id.get());
}

impl Data<'_> {
    fn append(&self, out: &mut Vec<u8>) {
        text(out, "data");
        let kv = |out: &mut Vec<u8>| {
            map(out, 1);
            text(out, "kv");
        };
        match self {
            Data::Null => nil(out),
            Data::Value(value) => {
                kv(out);
                value.append_as(out, Format::MsgPack);
            }
            Data::Text(value) => {
                kv(out);
                text(out, value);
            }
            Data::Binary(bytes) => {
                kv(out);
                msgpack::write_bin(out, bytes).expect(TAKES_ALL);
            }
            Data::Plain(value) => value.append_as(out, Format::MsgPack),
            Data::PlainText(value) => text(out, value),
            Data::Failed { code, message } => {
                map(out, 2);
                unsigned(out, "code", *code);
                text(out, "message");
                text(out, message);
            }
            Data::FailedBy { code, message } => {
                map(out, 2);
                text(out, "code");
                text(out, code);
                text(out, "message");
                text(out, message);
            }
        }
    }
}

fn head(out: &mut Vec<u8>, id: Id, rsp: &str) {
    unsigned(out, "id", id.get());
    text(out, "rsp");
    text(out, rsp);
}

fn uri(out: &mut Vec<u8>, uri: &str) {
    text(out, "uri");
    let segments = uri.split('.').count();
    msgpack::write_array_len(out, u32::try_from(segments).unwrap_or(u32::MAX)).map(drop).expect(TAKES_ALL);
    uri.split('.').for_each(|segment| text(out, segment));
}

fn options(out: &mut Vec<u8>, name: &str, is_set: bool) {
    text(out, "opt");
    map(out, u32::from(is_set));
    if is_set {
        text(out, name);
        msgpack::write_bool(out, true).expect(TAKES_ALL);
    }
}

fn headers(out: &mut Vec<u8>, headers: Option<Raw<'_>>) {
    text(out, "hdr");
    match headers {
        Some(headers) => headers.append_as(out, Format::MsgPack),
        None => map(out, 0),
    }
}

fn unsigned(out: &mut Vec<u8>, name: &str, value: u64) {
    text(out, name);
    msgpack::write_uint(out, value).map(drop).expect(TAKES_ALL);
}

fn map(out: &mut Vec<u8>, len: u32) {
    msgpack::write_map_len(out, len).map(drop).expect(TAKES_ALL);
}

fn text(out: &mut Vec<u8>, value: &str) {
    msgpack::write_str(out, value).expect(TAKES_ALL);
}

fn nil(out: &mut Vec<u8>) {
    msgpack::write_nil(out).expect(TAKES_ALL);
}
