//! What WAMP says of an event beside its arguments, as user properties of the message.
//!
//! | user property | what it is |
//! |---|---|
//! | `wamp-kwargs` | the named arguments, a JSON object; MQTT 5 publishers may set it |
//! | `wamp-args` | `one`: the payload is the one argument, though it is a list; `binary`: it is one argument of bytes; `list`: `[]` is a value |
//! | `wamp-publisher` | who published, if disclosed: JSON of `id`, `authid`, `authrole` |
//! | `wamp-publication` | the number that PUBLISHED said; not shown to MQTT clients |
//! | `wamp-trace` | whether the history of the realm records it, where its QoS does not say so; not shown to MQTT clients |
//! | `wamp-to` | whom it is for, see [`weir_broker::addressed`]; not shown to MQTT clients |
//!
//! Only the broker sets the last four: what an MQTT client says there is left out.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use weir_broker::addressed::{self, Addressed, Names};
pub use weir_broker::stream::history::{PUBLICATION, TRACE};
pub use weir_broker::sync::selector::KWARGS;
use weir_model::Properties;
use weir_wire::wamp::message::PublishOptions;
use weir_wire::wamp::value::{self, Body};
use weir_wire::wamp::{Args, Format, Id, Limits, Payload, Raw};

pub const ARGS: &str = "wamp-args";
pub const PUBLISHER: &str = "wamp-publisher";

/// Properties that clients of other protocols may not set.
pub const OURS: [&str; 4] = [addressed::PROPERTY, PUBLISHER, PUBLICATION, TRACE];

/// What `wamp-args` says of a list without elements that is a value, not no arguments (Hyper).
pub const EMPTY_LIST: &str = "list";

const ONE: &str = "one";
const BINARY: &str = "binary";

/// Who published.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Publisher<'a> {
    pub id: u64,
    #[serde(borrow)]
    pub authid: Cow<'a, str>,
    #[serde(borrow)]
    pub authrole: Cow<'a, str>,
}

/// What a message carries, and the properties that this needs.
#[derive(Debug, Default)]
pub struct Content<'a> {
    pub payload: Cow<'a, [u8]>,
    /// Whether the payload is JSON without white space around it.
    pub is_json: bool,
    pub properties: Option<Box<Properties>>,
}

/// Arguments as the content of a message.
pub fn body<'a>(payload: &Payload<'a>) -> Content<'a> {
    let value = value::body(payload);
    let body = value.to_mqtt();
    let is_json = body.is_json();
    let mut properties = None;
    let marker = match value {
        Body::One(value) if value.is_array() => Some(ONE),
        _ if !is_json => Some(BINARY),
        _ => None,
    };
    if let Some(marker) = marker {
        add(&mut properties, ARGS, marker);
        if marker == BINARY
            && let Some(properties) = &mut properties
        {
            properties.content_type = Some(body.content_type.into());
        }
    }
    if let Some(kwargs) = payload.kwargs.filter(|kwargs| kwargs.entries().next().is_some()) {
        let mut text = Vec::new();
        kwargs.append_as(&mut text, Format::Json);
        add(&mut properties, KWARGS, &String::from_utf8_lossy(&text));
    }
    Content { payload: body.bytes, is_json, properties }
}

/// Appends a user property.
pub fn add(properties: &mut Option<Box<Properties>>, name: &str, text: &str) {
    properties.get_or_insert_default().user.push((name.into(), text.into()));
}

/// Whom a publisher means; `None` = all who have subscribed, but itself.
pub fn addressed(options: &PublishOptions<'_>) -> Option<String> {
    let PublishOptions { exclude, exclude_authid, exclude_authrole, .. } = options;
    let PublishOptions { eligible, eligible_authid, eligible_authrole, .. } = options;
    let ids_of_none = exclude.is_none() && eligible.is_none();
    let names = [exclude_authid, exclude_authrole, eligible_authid, eligible_authrole];
    if options.exclude_me.is_none() && ids_of_none && names.iter().all(|names| names.is_none()) {
        return None;
    }
    let ids = |ids: &Option<Vec<Id>>| ids.as_ref().map(|ids| ids.iter().map(|id| id.get()).collect());
    let names = |names: &Option<Vec<weir_wire::wamp::Text<'_>>>| {
        names.as_ref().map(|names| names.iter().map(|name| name.to_string()).collect())
    };
    let addressed = Addressed {
        publisher_too: options.exclude_me == Some(false),
        excluded: Names {
            sessions: ids(&options.exclude),
            users: names(&options.exclude_authid),
            roles: names(&options.exclude_authrole),
        },
        eligible: Names {
            sessions: ids(&options.eligible),
            users: names(&options.eligible_authid),
            roles: names(&options.eligible_authrole),
        },
    };
    addressed.to_text()
}

/// What a message says to WAMP clients.
pub struct Said<'a> {
    pub payload: Payload<'a>,
    pub publisher: Option<Publisher<'a>>,
    pub publication: Option<Id>,
}

/// Reads a message's body and properties. `is_json`: the body is known to be that.
pub fn said<'a>(
    (payload, is_json): (&'a [u8], bool),
    properties: Option<&'a Properties>,
    limits: &Limits,
) -> Said<'a> {
    if is_json && properties.is_none() {
        return Said { payload: value::from_json(payload), publisher: None, publication: None };
    }
    let content_type = properties.and_then(|properties| properties.content_type.as_deref());
    let Some(properties) = properties.filter(|properties| !properties.user.is_empty()) else {
        let payload = value::from_mqtt(payload, content_type, limits);
        return Said { payload, publisher: None, publication: None };
    };
    let find =
        |name: &str| properties.user.iter().find(|(known, _)| **known == *name).map(|(_, text)| &**text);
    let mut said = match find(ARGS) {
        Some(BINARY) => Payload::args(Args::OneBinary(payload)),
        Some(ONE) => match Raw::check(Format::Json, payload, limits) {
            Ok(value) => Payload::args(Args::One(value)),
            Err(_) => value::from_mqtt(payload, content_type, limits),
        },
        _ => value::from_mqtt(payload, content_type, limits),
    };
    said.kwargs = find(KWARGS)
        .and_then(|text| Raw::check(Format::Json, text.as_bytes(), limits).ok())
        .filter(|kwargs| kwargs.is_map());
    Said {
        payload: said,
        publisher: find(PUBLISHER).and_then(|text| serde_json::from_str(text).ok()),
        publication: find(PUBLICATION).and_then(|text| text.parse().ok()).and_then(Id::new),
    }
}
