//! Messages of a session's life, and ERROR.

use std::borrow::Cow;
use std::fmt;

use crate::wamp::element::{Element, Wrong};
use crate::wamp::message::body::{message, options};
use crate::wamp::message::{MessageType, Roles};
use crate::wamp::writer::Writer;
use crate::wamp::{Id, Payload, Raw, Text};

message! {
    /// `[HELLO, Realm|uri, Details|dict]`
    Hello<'a> {
        realm: Text<'a>,
        details: HelloDetails<'a>,
    }
}

options! {
    /// What a client says of itself.
    HelloDetails<'a> {
        "roles" roles: Option<Roles>,
        /// The client's software.
        "agent" agent: Option<Text<'a>>,
        /// How the client can say who it is, in its order.
        "authmethods" authmethods: Option<Vec<Text<'a>>>,
        "authid" authid: Option<Text<'a>>,
        "authrole" authrole: Option<Text<'a>>,
        /// What an authentication method wants in front, such as the `pubkey` of cryptosign.
        "authextra" authextra: Option<Raw<'a>>,
    }
}

message! {
    /// `[WELCOME, Session|id, Details|dict]`
    Welcome<'a> {
        session: Id,
        details: WelcomeDetails<'a>,
    }
}

options! {
    /// Who the client is now, and what the router can.
    WelcomeDetails<'a> {
        "realm" realm: Option<Text<'a>>,
        "authid" authid: Option<Text<'a>>,
        "authrole" authrole: Option<Text<'a>>,
        "authmethod" authmethod: Option<Text<'a>>,
        "authprovider" authprovider: Option<Text<'a>>,
        "authextra" authextra: Option<Raw<'a>>,
        "roles" roles: Option<Roles>,
        /// The router's software.
        "agent" agent: Option<Text<'a>>,
    }
}

message! {
    /// `[ABORT, Details|dict, Reason|uri]`, and arguments as crossbar adds them.
    Abort<'a> {
        details: CloseDetails<'a>,
        reason: Text<'a>,
    } tail {
        payload: Payload<'a>,
    }
}

message! {
    /// `[GOODBYE, Details|dict, Reason|uri]`
    Goodbye<'a> {
        details: CloseDetails<'a>,
        reason: Text<'a>,
    }
}

options! {
    /// Of ABORT and GOODBYE.
    CloseDetails<'a> {
        /// For people.
        "message" message: Option<Text<'a>>,
    }
}

message! {
    /// `[CHALLENGE, AuthMethod|string, Extra|dict]`
    Challenge<'a> {
        method: Text<'a>,
        extra: ChallengeExtra<'a>,
    }
}

options! {
    /// What WAMP-CRA, its salted form, cryptosign and SCRAM ask with.
    ChallengeExtra<'a> {
        "challenge" challenge: Option<Text<'a>>,
        "salt" salt: Option<Text<'a>>,
        /// Length of the derived key in bytes.
        "keylen" keylen: Option<u64>,
        "iterations" iterations: Option<u64>,
        "channel_binding" channel_binding: Option<Text<'a>>,
        "nonce" nonce: Option<Text<'a>>,
        "kdf" kdf: Option<Text<'a>>,
        /// Kibibytes of argon2id.
        "memory" memory: Option<u64>,
    }
}

message! {
    /// `[AUTHENTICATE, Signature|string, Extra|dict]`
    Authenticate<'a> {
        signature: Secret<'a>,
        /// Usually a map; what is in it is the method's.
        extra: Raw<'a>,
    }
}

message! {
    /// `[ERROR, REQUEST.Type|int, REQUEST.Request|id, Details|dict, Error|uri, Args|list, Kwargs|dict]`
    Error<'a> {
        request_type: MessageType,
        request: Id,
        details: ErrorDetails<'a>,
        error: Text<'a>,
    } tail {
        payload: Payload<'a>,
    }
}

options! {
    /// How the payload of an ERROR is sealed, where it is.
    ErrorDetails<'a> {
        "ppt_scheme" ppt_scheme: Option<Text<'a>>,
        "ppt_serializer" ppt_serializer: Option<Text<'a>>,
        "ppt_cipher" ppt_cipher: Option<Text<'a>>,
        "ppt_keyid" ppt_keyid: Option<Text<'a>>,
    }
}

/// A text that no log may show: a ticket, a signature.
#[derive(Clone, PartialEq)]
pub struct Secret<'a>(pub Text<'a>);

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

impl<'a> Element<'a> for Secret<'a> {
    const WANTED: &'static str = <Cow<'_, str> as Element>::WANTED;

    fn read(raw: Raw<'a>) -> Result<Self, Wrong> {
        Element::read(raw).map(Secret)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.text(&self.0);
    }
}
