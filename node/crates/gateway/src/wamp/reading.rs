//! What SUBSCRIBE asks beside a URI, as the synchronization service knows it.

use weir_broker::sync::{After, Condition, Reading, ReadingError, Retained};
use weir_wire::wamp::Raw;
use weir_wire::wamp::message::SubscribeOptions;

use super::publish::json_of;

/// Reads the options.
///
/// # Errors
/// `filter` is no condition, or `after` no publication.
pub fn of(options: &SubscribeOptions<'_>) -> Result<Reading, ReadingError> {
    let filter = options.filter.map(|filter| Condition::parse(&json_of(filter))).transpose()?;
    let after = options.after.map(after).transpose()?;
    let is_all = options.retained_state || options.get_retained;
    let retained = match (is_all, options.retained) {
        (true, _) => Retained::AndLive,
        (false, true) => Retained::Changes,
        // A snapshot of nothing else.
        (false, false) if options.snapshot && after.is_none() => Retained::AndLive,
        (false, false) => Retained::None,
    };
    Ok(Reading { filter, after, snapshot: options.snapshot, retained })
}

/// A publication, as the number it is or as a text (fox-wamp).
fn after(after: Raw<'_>) -> Result<After, ReadingError> {
    match (after.unsigned(), after.text()) {
        (Some(number), _) if number < 1 << 53 => Ok(After::Publication(number)),
        (None, Some(text)) => text.parse(),
        _ => Err(ReadingError::After),
    }
}

#[cfg(test)]
mod tests {
    use weir_wire::wamp::{Format, Limits, Message, decode};

    use super::*;

    fn read(options: &str) -> Result<Reading, ReadingError> {
        let text = format!(r#"[32,1,{options},"a.b"]"#);
        match decode(text.as_bytes(), Format::Json, &Limits::default()).unwrap() {
            Message::Subscribe(subscribe) => of(&subscribe.options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_say_what_is_read() {
        assert_eq!(read("{}"), Ok(Reading::default()));
        let retained = |options: &str| read(options).unwrap().retained;
        assert_eq!(retained(r#"{"retained":true}"#), Retained::Changes);
        assert_eq!(retained(r#"{"retained":true,"retainedState":true}"#), Retained::AndLive);
        assert_eq!(retained(r#"{"get_retained":true}"#), Retained::AndLive);
        assert_eq!(retained(r#"{"snapshot":true}"#), Retained::AndLive);
        assert_eq!(retained(r#"{"snapshot":true,"after":1}"#), Retained::None);
        for after in [r#"{"after":12}"#, r#"{"after":"12"}"#] {
            assert_eq!(read(after).unwrap().after, Some(After::Publication(12)), "{after}");
        }
    }

    #[test]
    fn what_is_no_option_is_named() {
        for bad in [
            r#"{"after":""}"#,
            r#"{"after":"x"}"#,
            r#"{"after":-1}"#,
            r#"{"after":[]}"#,
            r#"{"after":9007199254740992}"#,
        ] {
            assert_eq!(read(bad), Err(ReadingError::After), "{bad}");
        }
        let deep = format!(r#"{{"filter":{}{}}}"#, "[".repeat(30), "]".repeat(30));
        let long = format!(r#"{{"filter":"{}"}}"#, "x".repeat(5000));
        for bad in [deep, long] {
            assert!(matches!(read(&bad), Err(ReadingError::Filter(_))), "{bad}");
        }
    }
}
