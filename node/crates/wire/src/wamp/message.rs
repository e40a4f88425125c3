//! The messages of WAMP v2, one type each, in the standard's words ("Message Definitions").
//!
//! Of options and details there is what this router understands; unknown entries are passed over when a
//! message is read.

mod body;
mod features;
mod pubsub;
mod rpc;
mod session;

use std::fmt;

pub use features::{Feature, Features, Role, Roles};
pub use pubsub::{
    Answered, Event, EventDetails, Match, Publish, PublishOptions, Published, Subscribe, SubscribeOptions,
    Subscribed, SubscriptionRevoked, Unsubscribe, Unsubscribed,
};
pub use rpc::{
    Call, CallOptions, CallResult, Cancel, CancelMode, CancelOptions, Interrupt, InterruptOptions,
    Invocation, InvocationDetails, Invoke, Register, RegisterOptions, Registered, RegistrationRevoked,
    ResultDetails, Unregister, Unregistered, Yield, YieldOptions,
};
pub use session::{
    Abort, Authenticate, Challenge, ChallengeExtra, CloseDetails, Error, ErrorDetails, Goodbye, Hello,
    HelloDetails, Secret, Welcome, WelcomeDetails,
};

pub(super) use body::{Body, ITEMS_MAX, Items, Tail};

use super::element::{Element, Wrong};
use super::writer::Writer;
use super::{DecodeError, Raw};

/// Makes [`MessageType`] and [`Message`] of the standard's table "Message Codes".
macro_rules! messages {
    ($($code:literal $name:literal $variant:ident($type:ident $(<$lt:lifetime>)?),)*) => {
        /// The code a message begins with.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum MessageType {
            $($variant = $code,)*
        }

        impl MessageType {
            pub fn of_code(code: u64) -> Option<MessageType> {
                match code {
                    $($code => Some(MessageType::$variant),)*
                    _ => None,
                }
            }

            /// The standard's name, in capitals.
            pub fn name(self) -> &'static str {
                match self {
                    $(MessageType::$variant => $name,)*
                }
            }
        }

        /// One message of either direction, borrowing from its bytes.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Message<'a> {
            $($variant($type $(<$lt>)?),)*
        }

        impl<'a> Message<'a> {
            pub fn message_type(&self) -> MessageType {
                match self {
                    $(Message::$variant(_) => MessageType::$variant,)*
                }
            }

            #[inline]
            pub(super) fn read(items: &Items<'a>) -> Result<Message<'a>, DecodeError> {
                Ok(match items.message_type() {
                    $(MessageType::$variant => Message::$variant(items.body()?),)*
                })
            }

            pub(super) fn write(&self, writer: &mut Writer<'_>) {
                match self {
                    $(Message::$variant(body) => body.write(MessageType::$variant, writer),)*
                }
            }
        }
    };
}

messages! {
    1 "HELLO" Hello(Hello<'a>),
    2 "WELCOME" Welcome(Welcome<'a>),
    3 "ABORT" Abort(Abort<'a>),
    4 "CHALLENGE" Challenge(Challenge<'a>),
    5 "AUTHENTICATE" Authenticate(Authenticate<'a>),
    6 "GOODBYE" Goodbye(Goodbye<'a>),
    8 "ERROR" Error(Error<'a>),
    16 "PUBLISH" Publish(Publish<'a>),
    17 "PUBLISHED" Published(Published),
    32 "SUBSCRIBE" Subscribe(Subscribe<'a>),
    33 "SUBSCRIBED" Subscribed(Subscribed),
    34 "UNSUBSCRIBE" Unsubscribe(Unsubscribe),
    35 "UNSUBSCRIBED" Unsubscribed(Unsubscribed<'a>),
    36 "EVENT" Event(Event<'a>),
    48 "CALL" Call(Call<'a>),
    49 "CANCEL" Cancel(Cancel),
    50 "RESULT" Result(CallResult<'a>),
    64 "REGISTER" Register(Register<'a>),
    65 "REGISTERED" Registered(Registered),
    66 "UNREGISTER" Unregister(Unregister),
    67 "UNREGISTERED" Unregistered(Unregistered<'a>),
    68 "INVOCATION" Invocation(Invocation<'a>),
    69 "INTERRUPT" Interrupt(Interrupt<'a>),
    70 "YIELD" Yield(Yield<'a>),
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an ERROR refers to.
impl<'a> Element<'a> for MessageType {
    const WANTED: &'static str = "a known message type";

    fn read(raw: Raw<'a>) -> Result<Self, Wrong> {
        raw.unsigned().and_then(MessageType::of_code).ok_or(Wrong::Type)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.unsigned(*self as u64);
    }
}
