//! Who sends a command, as devices of cashew-mqtt say it, and where the events for a user go.

use std::fmt;

use serde::{Deserialize, Serialize};
use weir_handler::{Event, Failure, Message};

/// A user, by the id in its token: text, or a number that is written as text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "Written", into = "String")]
pub struct User(String);

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Number(u64),
}

impl From<Written> for User {
    fn from(written: Written) -> User {
        match written {
            Written::Text(text) => User(text),
            Written::Number(number) => User(number.to_string()),
        }
    }
}

impl From<User> for String {
    fn from(user: User) -> String {
        user.0
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What every payload may hold.
#[derive(Deserialize)]
struct Sender {
    user_id: Option<User>,
}

impl User {
    /// Who sent a command: the level before the command's name (`68946/get_apples`), or else the payload's `user_id`.
    pub fn of(message: &Message) -> Result<User, Failure> {
        let user = match message.topic.split_once('/') {
            Some((user, _)) => Some(User(user.to_owned())),
            None => message.json::<Sender>()?.user_id,
        };
        user.ok_or_else(|| Failure::reject("who asks? neither the topic nor `user_id` says it"))?.checked()
    }

    /// The same user, if a topic can begin with it.
    ///
    /// # Errors
    /// [`Failure::Reject`], for one that would make a topic of several levels, a filter, or `$SYS`.
    pub fn checked(self) -> Result<User, Failure> {
        if self.0.is_empty() || self.0.starts_with('$') || self.0.contains(['/', '+', '#', '\0']) {
            return Err(Failure::reject(format!("{:?} is no user id", self.0)));
        }
        Ok(self)
    }

    /// An event for this user: `68946/got_apples`.
    pub fn event(&self, name: &str) -> Event {
        Event::to(format!("{self}/{name}"))
    }
}

/// The last level of the topic: what is to be done.
pub fn command(message: &Message) -> &str {
    message.levels().next_back().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_handler::testing::message;

    fn user(topic: &str, payload: &str) -> Result<User, Failure> {
        User::of(&message(topic).text(payload))
    }

    #[test]
    fn a_user_is_named_by_the_topic_or_by_the_payload() {
        assert_eq!(user("68946/ping", "").unwrap().to_string(), "68946");
        assert_eq!(user("get_apples", r#"{"user_id": "68946"}"#).unwrap().to_string(), "68946");
        assert_eq!(user("get_apples", r#"{"user_id": 68946, "more": true}"#).unwrap().to_string(), "68946");
    }

    #[test]
    fn nobody_speaks_for_a_user_that_is_no_topic_level() {
        for payload in [
            r#"{}"#,
            r##"{"user_id": "#"}"##,
            r#"{"user_id": "$SYS"}"#,
            r#"{"user_id": "1/2"}"#,
            r#"{"user_id": ""}"#,
        ] {
            let failure = user("get_apples", payload).unwrap_err();
            assert!(matches!(failure, Failure::Reject(_)), "{payload}: {failure}");
        }
    }

    #[test]
    fn events_go_to_the_user() {
        let asks = User::of(&message("68946/ping").text("")).unwrap();
        assert_eq!(asks.event("pong").topic, "68946/pong");
    }
}
