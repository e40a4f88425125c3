//! What a client's messages mean: one match over all of them.

use weir_model::Reason;
use weir_wire::wamp::message::{Goodbye, MessageType};
use weir_wire::wamp::{DecodeError, Message};

use super::channel::Wamp;
use super::reason::{GOODBYE_AND_OUT, INVALID_ARGUMENT};
use crate::connection::Flow;

impl Wamp {
    /// One message. `None` = go on with the next; [`Flow::Push`] = it was not taken.
    pub fn message(&mut self, message: &Message<'_>, out: &mut Vec<u8>) -> Option<Flow> {
        match message {
            Message::Publish(publish) => self.publish(publish, out),
            Message::Subscribe(subscribe) => self.subscribe(subscribe, out),
            Message::Unsubscribe(unsubscribe) => self.unsubscribe(unsubscribe, out),
            Message::Call(_)
            | Message::Cancel(_)
            | Message::Register(_)
            | Message::Unregister(_)
            | Message::Yield(_) => self.rpc(message, out),
            Message::Error(error) if error.request_type == MessageType::Invocation => self.rpc(message, out),
            Message::Goodbye(goodbye) => Some(self.said_goodbye(goodbye, out)),
            Message::Abort(_) => {
                self.ended = Some(Reason::Protocol);
                Some(Flow::End)
            }
            Message::Hello(_) => Some(self.broken("a second HELLO", out)),
            Message::Authenticate(_) => Some(self.broken("AUTHENTICATE without a CHALLENGE", out)),
            other => {
                let what = format!("{} is for a router to send", other.message_type());
                Some(self.broken(&what, out))
            }
        }
    }

    /// Bytes that are no message. An option with a value that it cannot have is the request's fault alone.
    pub fn undecoded(&mut self, error: &DecodeError, out: &mut Vec<u8>) -> Option<Flow> {
        match error {
            DecodeError::BadOption { message, request: Some(request), .. } => {
                self.refuse(out, (*message, *request), INVALID_ARGUMENT, &error.to_string());
                None
            }
            _ => Some(self.broken(&error.to_string(), out)),
        }
    }

    fn said_goodbye(&mut self, _: &Goodbye<'_>, out: &mut Vec<u8>) -> Flow {
        let uri = if self.is_fox() { "wamp.error.goodbye_and_out" } else { GOODBYE_AND_OUT };
        let flow = self.goodbye(uri, Reason::Protocol, "", out);
        self.ended = None;
        flow
    }
}
