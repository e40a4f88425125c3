//! A handler under `cargo test`: messages to give it, and a look at what it did.
//!
//! Each thread is a broker of its own, so tests do not see each other. [`run`] calls a handler as the broker does:
//! with the kv state of the message's key, and without its writes when it fails.
//!
//! ```
//! use weir_handler::testing::{kv, message, run};
//! use weir_handler::{Event, Failure, Message};
//!
//! fn count(message: Message) -> Result<Event, Failure> {
//!     let seen = weir_handler::kv::get_json::<u64>("seen")?.unwrap_or(0) + 1;
//!     weir_handler::kv::set_json("seen", &seen)?;
//!     Event::to("seen").json(&seen)
//! }
//!
//! let events = run(count, message("door").key("front").text("open")).unwrap();
//! assert_eq!(events, [Event::to("seen").json(&1).unwrap()]);
//! assert_eq!(kv("front")["seen"], b"1");
//! ```

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::host;
use crate::log::Level;
use crate::{Client, Event, Events, Failure, FromMessage, Mapped, Message, Passing, Reduced, reducer};

/// A message to this topic, at its first attempt.
pub fn message(topic: impl Into<String>) -> Draft {
    Draft(Message { topic: topic.into(), attempt: 1, ..Message::default() })
}

/// A message that has no payload yet.
#[derive(Debug, Clone)]
#[must_use]
pub struct Draft(Message);

impl Draft {
    /// What its order and its kv state go by.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Draft {
        self.0.key = key.as_ref().to_owned();
        self
    }

    /// Asks for an answer to this topic, with this correlation data.
    pub fn answer_to(mut self, topic: impl Into<String>, correlation: impl AsRef<[u8]>) -> Draft {
        self.0.response_topic = Some(topic.into());
        self.0.correlation_data = Some(correlation.as_ref().to_owned());
        self
    }

    /// One more user property.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Draft {
        self.0.user_properties.push((name.into(), value.into()));
        self
    }

    /// Published then, in milliseconds since 1970.
    pub fn published_at(mut self, milliseconds: u64) -> Draft {
        self.0.published_at = milliseconds;
        self
    }

    /// 1 for the first attempt.
    pub fn attempt(mut self, attempt: u32) -> Draft {
        self.0.attempt = attempt;
        self
    }

    /// Carries this as JSON.
    ///
    /// # Panics
    /// When serde cannot write it.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Message {
        match serde_json::to_vec(value) {
            Ok(payload) => self.bytes(payload),
            Err(error) => panic!("no JSON: {error}"),
        }
    }

    /// Carries this text.
    pub fn text(self, text: impl Into<String>) -> Message {
        self.bytes(text.into())
    }

    /// Carries these bytes.
    pub fn bytes(mut self, bytes: impl Into<Vec<u8>>) -> Message {
        self.0.payload = bytes.into();
        self.0
    }
}

/// Calls a command as the broker does.
///
/// # Errors
/// Those of the handler, and of its input that is not what it takes.
pub fn run<T, O, E>(handle: impl Fn(T) -> Result<O, E>, message: Message) -> Result<Vec<Event>, Failure>
where
    T: FromMessage,
    O: Into<Events>,
    E: Into<Failure>,
{
    let key = message.key.clone();
    let before = host::with(|host| {
        host.key.clone_from(&key);
        host.kv.get(&key).cloned().unwrap_or_default()
    });
    let result = crate::run(handle, message);
    if result.is_err() {
        host::with(|host| host.kv.insert(key, before));
    }
    result
}

/// The kv state of a key, by name.
pub fn kv(key: impl AsRef<[u8]>) -> BTreeMap<String, Vec<u8>> {
    host::with(|host| host.kv.get(key.as_ref()).cloned().unwrap_or_default())
}

/// The store answers nothing from now on, or does again.
pub fn set_kv_away(away: bool) {
    host::with(|host| host.kv_away = away);
}

/// Takes the lines that were logged so far.
pub fn log_lines() -> Vec<(Level, String)> {
    host::with(|host| std::mem::take(&mut host.log))
}

/// Sets a value, or a secret, of the binding.
pub fn set_config(name: impl Into<String>, value: impl Into<String>) {
    host::with(|host| host.config.insert(name.into(), value.into()));
}

/// Sets the clock, in milliseconds since 1970; it stands still. It begins at 0.
pub fn set_now(milliseconds: u64) {
    host::with(|host| host.now = milliseconds);
}

/// A client for a middleware, with a user of the same name, on MQTT.
pub fn client(client_id: impl Into<String>) -> Client {
    let client_id = client_id.into();
    let user = Some(client_id.clone());
    let [realm, protocol, address] = ["default", "mqtt", "127.0.0.1"].map(str::to_owned);
    Client { client_id, user, realm, protocol, address }
}

/// A message for a middleware, with this as JSON.
///
/// # Panics
/// When serde cannot write it.
pub fn passing<T: Serialize + ?Sized>(topic: impl Into<String>, value: &T) -> Passing {
    let Message { topic, payload, .. } = message(topic).json(value);
    Passing { topic, payload, ..Passing::default() }
}

/// The states of a reducer, kept as the broker keeps them.
pub struct Reduction<M, R> {
    map: M,
    reduce: R,
    states: BTreeMap<String, Vec<u8>>,
}

impl<M, R> Reduction<M, R> {
    /// Of a reducer that has seen nothing.
    pub fn new(map: M, reduce: R) -> Reduction<M, R> {
        Reduction { map, reduce, states: BTreeMap::new() }
    }

    /// A message comes.
    ///
    /// # Errors
    /// Those of the map and of the reduce.
    pub fn comes<T, P, S, V, Q>(&mut self, message: Message) -> Result<(), Failure>
    where
        M: Fn(T) -> P,
        T: FromMessage,
        P: Mapped<Value = V>,
        R: Fn(&str, Option<S>, Vec<(V, i32)>) -> Q,
        V: Serialize + DeserializeOwned,
        S: Serialize + DeserializeOwned,
        Q: Reduced<State = S>,
    {
        self.change(message, 1)
    }

    /// A message goes: a newer one of the same key has replaced it.
    ///
    /// # Errors
    /// Those of the map and of the reduce.
    pub fn goes<T, P, S, V, Q>(&mut self, message: Message) -> Result<(), Failure>
    where
        M: Fn(T) -> P,
        T: FromMessage,
        P: Mapped<Value = V>,
        R: Fn(&str, Option<S>, Vec<(V, i32)>) -> Q,
        V: Serialize + DeserializeOwned,
        S: Serialize + DeserializeOwned,
        Q: Reduced<State = S>,
    {
        self.change(message, -1)
    }

    /// The state of each key, as the bytes that are kept.
    pub fn states(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.states
    }

    /// The state of a key; none when there is no such key, or when it is not the JSON of a `T`.
    pub fn state<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_slice(self.states.get(key)?).ok()
    }

    fn change<T, P, S, V, Q>(&mut self, message: Message, weight: i32) -> Result<(), Failure>
    where
        M: Fn(T) -> P,
        T: FromMessage,
        P: Mapped<Value = V>,
        R: Fn(&str, Option<S>, Vec<(V, i32)>) -> Q,
        V: Serialize + DeserializeOwned,
        S: Serialize + DeserializeOwned,
        Q: Reduced<State = S>,
    {
        let mut changes: BTreeMap<String, Vec<(Vec<u8>, i32)>> = BTreeMap::new();
        for (key, value) in reducer::map(&self.map, message)? {
            changes.entry(key).or_default().push((value, weight));
        }
        for (key, changes) in changes {
            let state = self.states.get(&key).cloned();
            match reducer::reduce(&self.reduce, &key, state, changes.into_iter())? {
                Some(state) => self.states.insert(key, state),
                None => self.states.remove(&key),
            };
        }
        Ok(())
    }
}
