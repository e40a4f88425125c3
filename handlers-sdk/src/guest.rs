//! What the macros export: between the types of the contract and those of this crate.

use std::sync::Once;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::log;
use crate::{Action, Client, Events, FromMessage, Hooks, Mapped, Merged, Passage, Passing, Reduced, Verdict};

#[allow(missing_docs, clippy::all)]
pub mod command {
    wit_bindgen::generate!({ path: "wit/weir-handler.wit", world: "command", pub_export_macro: true });
}

#[allow(missing_docs, clippy::all)]
pub mod reducer {
    wit_bindgen::generate!({
        path: "wit/weir-handler.wit",
        world: "reducer",
        pub_export_macro: true,
        with: {
            "weir:handler/types@1.0.0": crate::guest::command::weir::handler::types,
            "weir:handler/log@1.0.0": crate::guest::command::weir::handler::log,
            "weir:handler/config@1.0.0": crate::guest::command::weir::handler::config,
            "weir:handler/clock@1.0.0": crate::guest::command::weir::handler::clock,
            "weir:handler/random@1.0.0": crate::guest::command::weir::handler::random,
        },
    });
}

#[allow(missing_docs, clippy::all)]
pub mod merging_reducer {
    wit_bindgen::generate!({
        path: "wit/weir-handler.wit",
        world: "merging-reducer",
        pub_export_macro: true,
        with: {
            "weir:handler/types@1.0.0": crate::guest::command::weir::handler::types,
            "weir:handler/reduction@1.0.0": crate::guest::reducer::weir::handler::reduction,
            "weir:handler/log@1.0.0": crate::guest::command::weir::handler::log,
            "weir:handler/config@1.0.0": crate::guest::command::weir::handler::config,
            "weir:handler/clock@1.0.0": crate::guest::command::weir::handler::clock,
            "weir:handler/random@1.0.0": crate::guest::command::weir::handler::random,
        },
    });
}

#[allow(missing_docs, clippy::all)]
pub mod middleware {
    wit_bindgen::generate!({
        path: "wit/weir-handler.wit",
        world: "middleware",
        pub_export_macro: true,
        with: {
            "weir:handler/log@1.0.0": crate::guest::command::weir::handler::log,
            "weir:handler/config@1.0.0": crate::guest::command::weir::handler::config,
            "weir:handler/clock@1.0.0": crate::guest::command::weir::handler::clock,
            "weir:handler/random@1.0.0": crate::guest::command::weir::handler::random,
        },
    });
}

pub use command::weir::handler::types::{Event, Failure, Message};
use middleware::weir::handler::hooks;
pub use reducer::weir::handler::reduction::{Change, Keyed};

/// A panic traps, and its text is nowhere: so it is logged before.
fn begin() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| std::panic::set_hook(Box::new(|panic| log::error!("{panic}"))));
}

impl From<Message> for crate::Message {
    fn from(message: Message) -> crate::Message {
        crate::Message {
            topic: message.topic,
            payload: message.payload,
            key: message.key,
            content_type: message.content_type,
            response_topic: message.response_topic,
            correlation_data: message.correlation_data,
            user_properties: message.user_properties,
            position: message.position,
            id: message.id,
            published_at: message.published_at,
            attempt: message.attempt,
        }
    }
}

impl From<crate::Event> for Event {
    fn from(event: crate::Event) -> Event {
        Event {
            topic: event.topic,
            payload: event.payload,
            qos: event.qos,
            retain: event.retain,
            content_type: event.content_type,
            response_topic: event.response_topic,
            correlation_data: event.correlation_data,
            user_properties: event.user_properties,
            expiry_seconds: event.expiry_seconds,
        }
    }
}

impl From<crate::Failure> for Failure {
    fn from(failure: crate::Failure) -> Failure {
        let milliseconds = |after: Duration| u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        match failure {
            crate::Failure::Reject(reason) => Failure::Reject(reason),
            crate::Failure::Retry(after) => Failure::Retry(after.map(milliseconds)),
        }
    }
}

pub fn handle<T, O, E>(handle: impl Fn(T) -> Result<O, E>, message: Message) -> Result<Vec<Event>, Failure>
where
    T: FromMessage,
    O: Into<Events>,
    E: Into<crate::Failure>,
{
    begin();
    let events = crate::run(handle, message.into())?;
    Ok(events.into_iter().map(Event::from).collect())
}

pub fn map<T, M>(map: impl Fn(T) -> M, message: Message) -> Result<Vec<Keyed>, Failure>
where
    T: FromMessage,
    M: Mapped<Value: Serialize>,
{
    begin();
    let pairs = crate::reducer::map(map, message.into())?;
    Ok(pairs.into_iter().map(|(key, value)| Keyed { key, value }).collect())
}

pub fn reduce<S, V, R>(
    reduce: impl Fn(&str, Option<S>, Vec<(V, i32)>) -> R,
    key: String,
    state: Option<Vec<u8>>,
    changes: Vec<Change>,
) -> Result<Option<Vec<u8>>, Failure>
where
    S: Serialize + DeserializeOwned,
    V: DeserializeOwned,
    R: Reduced<State = S>,
{
    begin();
    let changes = changes.into_iter().map(|change| (change.value, change.weight));
    Ok(crate::reducer::reduce(reduce, &key, state, changes)?)
}

pub fn merge<S, G>(
    merge: impl Fn(&str, Vec<S>) -> G,
    key: String,
    states: Vec<Vec<u8>>,
) -> Result<Vec<u8>, Failure>
where
    S: Serialize + DeserializeOwned,
    G: Merged<S>,
{
    begin();
    Ok(crate::reducer::merge(merge, &key, states)?)
}

impl From<hooks::Client> for Client {
    fn from(client: hooks::Client) -> Client {
        Client {
            client_id: client.client_id,
            user: client.user,
            realm: client.realm,
            protocol: client.protocol,
            address: client.address,
        }
    }
}

impl From<hooks::Passing> for Passing {
    fn from(message: hooks::Passing) -> Passing {
        Passing {
            topic: message.topic,
            payload: message.payload,
            qos: message.qos,
            retain: message.retain,
            content_type: message.content_type,
            user_properties: message.user_properties,
        }
    }
}

impl From<Verdict> for hooks::Verdict {
    fn from(verdict: Verdict) -> hooks::Verdict {
        match verdict {
            Verdict::Pass => hooks::Verdict::Pass,
            Verdict::Refuse(reason) => hooks::Verdict::Refuse(reason),
        }
    }
}

impl From<Passage> for hooks::Passage {
    fn from(passage: Passage) -> hooks::Passage {
        match passage {
            Passage::Pass => hooks::Passage::Pass,
            Passage::Refuse(reason) => hooks::Passage::Refuse(reason),
            Passage::Change(message) => hooks::Passage::Change(hooks::Passing {
                topic: message.topic,
                payload: message.payload,
                qos: message.qos,
                retain: message.retain,
                content_type: message.content_type,
                user_properties: message.user_properties,
            }),
        }
    }
}

/// The functions of a middleware.
pub trait Middleware {
    const HOOKS: Hooks;
}

/// Calls them.
pub struct Hooked<M>(std::marker::PhantomData<M>);

impl<M: Middleware> middleware::Guest for Hooked<M> {
    fn on_connect(client: hooks::Client) -> hooks::Verdict {
        begin();
        M::HOOKS.on_connect.map_or(hooks::Verdict::Pass, |hook| hook(client.into()).into())
    }

    fn on_authorize(client: hooks::Client, action: hooks::Action, topic: String) -> hooks::Verdict {
        begin();
        let action = match action {
            hooks::Action::Publish => Action::Publish,
            hooks::Action::Subscribe => Action::Subscribe,
        };
        M::HOOKS.on_authorize.map_or(hooks::Verdict::Pass, |hook| hook(client.into(), action, topic).into())
    }

    fn on_publish(client: hooks::Client, message: hooks::Passing) -> hooks::Passage {
        begin();
        M::HOOKS.on_publish.map_or(hooks::Passage::Pass, |hook| hook(client.into(), message.into()).into())
    }

    fn on_deliver(client: hooks::Client, message: hooks::Passing) -> hooks::Passage {
        begin();
        M::HOOKS.on_deliver.map_or(hooks::Passage::Pass, |hook| hook(client.into(), message.into()).into())
    }
}
