//! What a SUBSCRIBE asks beside its filters, by MQTT 5 user properties: `weir-filter` and `weir-after`.

use weir_broker::sync::{After, Condition, Reading, ReadingError};

/// JSON that the body of a message has to meet.
pub const FILTER: &str = "weir-filter";

/// What was recorded behind this place comes first: a position, or the number of a publication.
pub const AFTER: &str = "weir-after";

/// A user property does not say what it has to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("{FILTER}: {0}")]
    Filter(weir_broker::sync::ConditionError),
    #[error("{AFTER} must be a position epoch:ms-seq, or the number of a publication")]
    After,
    #[error("{0}: it is there twice")]
    Twice(&'static str),
}

/// What is asked of each filter of the packet.
///
/// # Errors
/// A property is there twice, or does not say what it has to.
pub fn of<'a>(user: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Reading, Broken> {
    let mut reading = Reading::default();
    for (name, text) in user {
        let before = match name {
            FILTER => {
                let filter = Condition::parse(text).map_err(Broken::Filter)?;
                reading.filter.replace(filter).map(|_| FILTER)
            }
            AFTER => {
                let after: After = text.parse().map_err(|_: ReadingError| Broken::After)?;
                reading.after.replace(after).map(|_| AFTER)
            }
            _ => None,
        };
        if let Some(name) = before {
            return Err(Broken::Twice(name));
        }
    }
    Ok(reading)
}

#[cfg(test)]
mod tests {
    use weir_broker::sync::ConditionError;
    use weir_model::Position;

    use super::*;

    fn read(user: &[(&'static str, &'static str)]) -> Result<Reading, Broken> {
        of(user.iter().copied())
    }

    #[test]
    fn user_properties_say_what_is_read() {
        assert_eq!(read(&[("a", "b")]), Ok(Reading::default()));
        let reading = read(&[(FILTER, r#"{"a":1}"#), (AFTER, "2:5-3")]).unwrap();
        assert_eq!(reading.filter.unwrap().as_str(), r#"{"a":1}"#);
        assert_eq!(reading.after, Some(After::Position(Position { epoch: 2, ms: 5, seq: 3 })));
        assert_eq!(read(&[(AFTER, "77")]).unwrap().after, Some(After::Publication(77)));
    }

    #[test]
    fn what_is_no_reading_is_named() {
        assert_eq!(read(&[(FILTER, "{")]), Err(Broken::Filter(ConditionError::NotJson)));
        assert_eq!(read(&[(AFTER, "soon")]), Err(Broken::After));
        assert_eq!(read(&[(AFTER, "1"), (AFTER, "2")]), Err(Broken::Twice(AFTER)));
    }
}
