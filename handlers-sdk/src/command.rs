//! Commands: messages in, events out.

use serde::de::DeserializeOwned;

use crate::{Event, Failure, Message};

/// What a handler makes of a message: nothing, one event, or several in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Events(pub Vec<Event>);

impl From<()> for Events {
    fn from((): ()) -> Events {
        Events(Vec::new())
    }
}

impl From<Event> for Events {
    fn from(event: Event) -> Events {
        Events(vec![event])
    }
}

impl From<Option<Event>> for Events {
    fn from(event: Option<Event>) -> Events {
        Events(event.into_iter().collect())
    }
}

impl From<Vec<Event>> for Events {
    fn from(events: Vec<Event>) -> Events {
        Events(events)
    }
}

impl<const N: usize> From<[Event; N]> for Events {
    fn from(events: [Event; N]) -> Events {
        Events(events.into())
    }
}

/// What a handler may take: the [`Message`], or any type that serde reads out of its payload.
pub trait FromMessage: Sized {
    /// # Errors
    /// [`Failure::Reject`] when the payload is not the JSON of this type.
    fn from_message(message: Message) -> Result<Self, Failure>;
}

impl FromMessage for Message {
    fn from_message(message: Message) -> Result<Message, Failure> {
        Ok(message)
    }
}

impl<T: DeserializeOwned> FromMessage for T {
    fn from_message(message: Message) -> Result<T, Failure> {
        message.json()
    }
}

/// Calls a handler as the broker does: what [`command!`](crate::command!) exports.
///
/// # Errors
/// Those of the handler, and of its input that is not what it takes.
pub fn run<T, O, E>(handle: impl Fn(T) -> Result<O, E>, message: Message) -> Result<Vec<Event>, Failure>
where
    T: FromMessage,
    O: Into<Events>,
    E: Into<Failure>,
{
    let events = handle(T::from_message(message)?).map_err(Into::into)?;
    Ok(events.into().0)
}

/// Makes a function the handler of this crate, of the world `command`.
///
/// It takes a [`Message`](crate::Message), or anything that serde reads out of the payload, and returns a `Result` of
/// something that is [`Events`](crate::Events): `()`, an [`Event`](crate::Event), an `Option` or a `Vec` of them. The
/// events are published in order, after the message counts as handled.
///
/// ```
/// use weir_handler::{Event, Failure};
///
/// #[derive(serde::Deserialize)]
/// struct Sale {
///     shop: u32,
///     pieces: u64,
/// }
///
/// fn handle(sale: Sale) -> Result<Option<Event>, Failure> {
///     let large = sale.pieces >= 1000;
///     large.then(|| Event::to(format!("shop/{}/large-sale", sale.shop)).json(&sale.pieces)).transpose()
/// }
///
/// weir_handler::command!(handle);
/// ```
#[macro_export]
macro_rules! command {
    ($handle:path) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Handler;

            impl $crate::guest::command::Guest for Handler {
                fn handle(
                    message: $crate::guest::command::Message,
                ) -> ::std::result::Result<
                    ::std::vec::Vec<$crate::guest::command::Event>,
                    $crate::guest::command::Failure,
                > {
                    $crate::guest::handle($handle, message)
                }
            }

    $crate::guest::command::export!(Handler with_types_in $crate::guest::command);
        };

        #[cfg(not(target_arch = "wasm32"))]
        const _: fn(
            $crate::Message,
        ) -> ::std::result::Result<::std::vec::Vec<$crate::Event>, $crate::Failure> =
            |message| $crate::run($handle, message);
    };
}
