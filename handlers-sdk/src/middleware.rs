//! Middleware: code in the path of connections and messages.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Failure;

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Client {
    /// As it calls itself.
    pub client_id: String,
    /// Who it has proved to be; none = anonymous.
    pub user: Option<String>,
    /// The realm it is in.
    pub realm: String,
    /// `mqtt`, `wamp`, `umf` or `sync`.
    pub protocol: String,
    /// Address of the connection, without its port.
    pub address: String,
}

/// What a client wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// To publish to a topic.
    Publish,
    /// To subscribe to a filter.
    Subscribe,
}

/// What becomes of a connection or an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As if this middleware were not there.
    Pass,
    /// Not allowed; the reason is told to the client where its protocol can.
    Refuse(String),
}

/// A message on its way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Passing {
    /// Where it goes.
    pub topic: String,
    /// What it carries.
    pub payload: Vec<u8>,
    /// 0, 1 or 2 (MQTT-4.3).
    pub qos: u8,
    /// Kept as the last value of its topic (MQTT-3.3.1.3).
    pub retain: bool,
    /// MQTT 5 content type (MQTT-3.3.2.3.9).
    pub content_type: Option<String>,
    /// MQTT 5 user properties, in the publisher's order; names may repeat.
    pub user_properties: Vec<(String, String)>,
}

impl Passing {
    /// The payload as JSON.
    ///
    /// # Errors
    /// [`Failure::Reject`] with what is wrong and where, when it is not the JSON of a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        Ok(serde_json::from_slice(&self.payload)?)
    }

    /// The same message with this as its payload.
    ///
    /// # Errors
    /// [`Failure::Reject`] when serde cannot write it.
    pub fn with_json<T: Serialize + ?Sized>(mut self, value: &T) -> Result<Passing, Failure> {
        self.payload = serde_json::to_vec(value).map_err(|error| Failure::unwritable(&error))?;
        Ok(self)
    }
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passage {
    /// It goes on as it is.
    Pass,
    /// This one instead. On delivery topic, qos and retain stay as they are.
    Change(Passing),
    /// It ends here. A publisher is told so where its protocol can; on delivery this one receiver does not get it.
    Refuse(String),
}

/// The functions of a middleware; what is not given passes everything. Made by [`middleware!`](crate::middleware!).
#[derive(Debug, Clone, Copy, Default)]
pub struct Hooks {
    /// After the client has proved who it is, before its connection is accepted.
    pub on_connect: Option<fn(Client) -> Verdict>,
    /// After the node's own policies have allowed it; the text is the topic, or the filter of a subscription.
    pub on_authorize: Option<fn(Client, Action, String) -> Verdict>,
    /// Before a publish reaches anybody or any store.
    pub on_publish: Option<fn(Client, Passing) -> Passage>,
    /// Before a message is sent to one receiver, who is the client.
    pub on_deliver: Option<fn(Client, Passing) -> Passage>,
}

impl Hooks {
    /// Everything passes.
    pub const NONE: Hooks =
        Hooks { on_connect: None, on_authorize: None, on_publish: None, on_deliver: None };
}

/// Makes functions the middleware of this crate. Each hook may be left out: then it passes everything.
///
/// ```
/// use weir_handler::{Client, Passage, Passing, Verdict};
///
/// fn known(client: Client) -> Verdict {
///     if client.user.is_some() { Verdict::Pass } else { Verdict::Refuse("who are you?".to_owned()) }
/// }
///
/// fn small(_client: Client, message: Passing) -> Passage {
///     if message.payload.len() <= 1024 { Passage::Pass } else { Passage::Refuse("too large".to_owned()) }
/// }
///
/// weir_handler::middleware!(on_connect: known, on_publish: small);
/// ```
#[macro_export]
macro_rules! middleware {
    ($($hook:ident : $function:path),+ $(,)?) => {
        const _: () = {
            #[allow(dead_code)]
            #[allow(clippy::needless_update)]
            const HOOKS: $crate::Hooks =
                $crate::Hooks { $($hook: ::std::option::Option::Some($function),)+ ..$crate::Hooks::NONE };

            #[cfg(target_arch = "wasm32")]
            struct Handler;

            #[cfg(target_arch = "wasm32")]
            impl $crate::guest::Middleware for Handler {
                const HOOKS: $crate::Hooks = HOOKS;
            }

            #[cfg(target_arch = "wasm32")]
            type Guest = $crate::guest::Hooked<Handler>;

            #[cfg(target_arch = "wasm32")]
            $crate::guest::middleware::export!(Guest with_types_in $crate::guest::middleware);
        };
    };
}
