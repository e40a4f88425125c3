//! What can go wrong for a client: what was tried, and what stood in the way.

use std::time::Duration;

use weir_wire::mqtt::{DecodeError, ReasonCode};

/// Why something did not work. All but the refusals and the last three end the connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("could not connect to {url}: {source}")]
    Connect {
        url: String,
        #[source]
        source: weir_net::client::ConnectError,
    },
    #[error("the server at {url} refused the connection: {}", described(*.code, .reason))]
    Refused { url: String, code: ReasonCode, reason: Option<String>, server_reference: Option<String> },
    #[error("the server refused a message to {topic}: {}", described(*.code, .reason))]
    PublishRefused { topic: String, code: ReasonCode, reason: Option<String> },
    #[error("the server refused to subscribe to {filter}: {}", described(*.code, &None))]
    SubscribeRefused { filter: String, code: ReasonCode },
    #[error("the server disconnected while {doing}: {}", described(*.code, .reason))]
    Disconnected {
        doing: &'static str,
        code: ReasonCode,
        reason: Option<String>,
        server_reference: Option<String>,
    },
    #[error("the server closed the connection while {doing}")]
    Closed { doing: &'static str },
    #[error("the connection failed while {doing}: {source}")]
    Io { doing: &'static str, source: std::io::Error },
    #[error("the server sent what is not MQTT: {source}")]
    Malformed { source: DecodeError },
    #[error("the server sent an unexpected {packet} while {doing}")]
    Unexpected { packet: &'static str, doing: &'static str },
    #[error("no answer within {after:?} while {doing}")]
    TimedOut { doing: &'static str, after: Duration },
    #[error("{messages} messages wait to be read; take some before asking for more")]
    InboxFull { messages: usize },
    #[error("the {field} has {bytes} bytes, and MQTT allows 65535")]
    FieldTooLong { field: &'static str, bytes: usize },
    #[error("the packet has {bytes} bytes, and the server takes {bytes_max}")]
    TooLarge { bytes: usize, bytes_max: usize },
}

/// A reason code in words, with its number and the server's own sentence.
fn described(code: ReasonCode, reason: &Option<String>) -> String {
    let name = name(code);
    match reason {
        Some(reason) => format!("{name} (0x{:02x}): {reason}", code.as_u8()),
        None => format!("{name} (0x{:02x})", code.as_u8()),
    }
}

/// `NotAuthorized` as `not authorized`.
fn name(code: ReasonCode) -> String {
    let mut words = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_words_and_with_its_number() {
        let code = ReasonCode::BadUserNameOrPassword;
        let refused = Error::Refused {
            url: "mqtt://h".into(),
            code,
            reason: Some("who are you".into()),
            server_reference: None,
        };
        let expected = "the server at mqtt://h refused the connection: \
                        bad user name or password (0x86): who are you";
        assert_eq!(refused.to_string(), expected);
        assert_eq!(described(ReasonCode::QuotaExceeded, &None), "quota exceeded (0x97)");
    }
}
