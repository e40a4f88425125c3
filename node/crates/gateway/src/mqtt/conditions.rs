//! Conditions of a publish by MQTT 5 user properties: `weir-when`, `weir-watch`, `weir-will`.

use weir_broker::sync::{Condition, ConditionError, Conditions};
use weir_model::Reason;
use weir_wire::mqtt::Publish;

/// JSON that the retained value of the topic has to meet; `null` = there is to be none.
pub const WHEN: &str = "weir-when";

/// `true` = wait until it does.
pub const WATCH: &str = "weir-watch";

/// JSON that becomes the value when the session ends; `null` = none.
pub const WILL: &str = "weir-will";

/// A user property does not say what it has to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("{WHEN}: {0}")]
    When(ConditionError),
    #[error("{WATCH}: it is neither `true` nor `false`")]
    Watch,
    #[error("{WILL}: it is no JSON")]
    Will,
    #[error("{0}: it is there twice")]
    Twice(&'static str),
}

/// What a publish asks; `None` = nothing.
///
/// # Errors
/// One of them is there twice, or does not say what it has to.
pub fn of(publish: &Publish<'_>) -> Result<Option<Box<Conditions>>, Broken> {
    let mut conditions: Option<Box<Conditions>> = None;
    let mut has_watch = false;
    for (name, text) in publish.properties.user.iter() {
        match name {
            WHEN => {
                let when = Condition::parse(text).map_err(Broken::When)?;
                once(WHEN, conditions.get_or_insert_default().when.replace(when))?;
            }
            WATCH => {
                let watch = text.parse().map_err(|_| Broken::Watch)?;
                once(WATCH, std::mem::replace(&mut has_watch, true).then_some(()))?;
                conditions.get_or_insert_default().watch = watch;
            }
            WILL => {
                let will = Conditions::will_of(text).ok_or(Broken::Will)?;
                once(WILL, conditions.get_or_insert_default().will.replace(will))?;
            }
            _ => {}
        }
    }
    Ok(conditions.filter(|conditions| !conditions.is_empty()).map(|mut conditions| {
        conditions.repeat = publish.dup;
        conditions
    }))
}

/// What a refusal says that is for a condition.
pub fn why(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::ConditionNotMet => Some("when"),
        Reason::ConditionInvalid => Some(
            "conditions want QoS 1 or 2, a topic that does not begin with `$`, for a watch `weir-when`, for a will RETAIN",
        ),
        _ => None,
    }
}

fn once<T>(name: &'static str, before: Option<T>) -> Result<(), Broken> {
    before.map_or(Ok(()), |_| Err(Broken::Twice(name)))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use weir_model::Qos;
    use weir_wire::mqtt::{List, MessageProperties};

    use super::*;

    fn asked(user: &[(&str, &str)], dup: bool) -> Result<Option<Box<Conditions>>, Broken> {
        let properties = MessageProperties { user: List::of(user), ..MessageProperties::default() };
        of(&Publish { qos: Qos::AtLeastOnce, dup, properties, ..Publish::new("t", b"") })
    }

    #[test]
    fn user_properties_say_on_what_a_publish_depends() {
        let all = [("a", "b"), (WHEN, "null"), (WATCH, "true"), (WILL, "null")];
        let conditions = asked(&all, true).unwrap().unwrap();
        assert!(conditions.watch && conditions.repeat && conditions.when.is_some());
        assert_eq!(conditions.will, Some(Bytes::new()));
        let will = asked(&[(WILL, r#"{"a":1}"#)], false).unwrap().unwrap().will;
        assert_eq!(will.as_deref(), Some(&br#"{"a":1}"#[..]));
        for none in [&[][..], &[("weir-idempotency-key", "k")], &[(WATCH, "false")]] {
            assert_eq!(asked(none, true), Ok(None));
        }
    }

    #[test]
    fn what_is_no_condition_is_named() {
        assert_eq!(asked(&[(WHEN, "{")], false), Err(Broken::When(ConditionError::NotJson)));
        assert_eq!(asked(&[(WATCH, "yes")], false), Err(Broken::Watch));
        assert_eq!(asked(&[(WILL, "gone")], false), Err(Broken::Will));
        assert_eq!(asked(&[(WHEN, "1"), (WHEN, "2")], false), Err(Broken::Twice(WHEN)));
    }
}
