//! Remote procedure calls of WAMP (advanced profile, "RPC"): requests go to the broker's calls, what comes of them is
//! written when the connection wakes.

pub(crate) mod convert;
mod deliveries;
mod requests;

use std::task::Context;

use weir_wire::wamp::Message;
use weir_wire::wamp::message::{Feature, MessageType};

use super::channel::Wamp;
use super::handshake;
use crate::connection::Flow;
pub use convert::{PROGRESS_UNASKED, WHOLE};
use deliveries::Manner;
pub use deliveries::{CALLEE_FAILURE, no_callee};
pub use requests::Rpc;
use requests::{Asker, Taken};

/// What callers and callees may count on here.
pub const FEATURES: &[Feature] = &[
    Feature::SessionMetaApi,
    Feature::TestamentMetaApi,
    Feature::RegistrationMetaApi,
    Feature::PatternBasedRegistration,
    Feature::SharedRegistration,
    Feature::RegistrationRevocation,
    Feature::CallerIdentification,
    Feature::CallCanceling,
    Feature::CallTimeout,
    Feature::ProgressiveCallResults,
    Feature::ProgressiveCallInvocations,
    Feature::PayloadPassthruMode,
];

/// What ends a session that does so.
pub const REQUEST_IN_USE: &str = "the request id is of a call that is not over";

impl Wamp {
    /// CALL, CANCEL, REGISTER, UNREGISTER, YIELD, and ERROR for INVOCATION.
    pub fn rpc(&mut self, message: &Message<'_>, out: &mut Vec<u8>) -> Option<Flow> {
        if let Message::Call(call) = message
            && self.meta(call, out)
        {
            return None;
        }
        let mut rpc = std::mem::take(&mut self.rpc);
        let publisher = &self.publisher;
        let asker = Asker {
            broker: &publisher.broker,
            session: &publisher.session,
            principal: &publisher.principal,
            id: self.id,
            role: handshake::authrole(&publisher.principal),
            format: self.serialization.format,
            marks: self.payload_marks,
            rules: self.rules,
        };
        let taken = rpc.take(&asker, message, &mut |message| self.say(out, message));
        self.rpc = rpc;
        match taken {
            Taken::Done => None,
            Taken::NotMine => {
                Some(self.broken(&format!("{} is not for a router", message.message_type()), out))
            }
            Taken::Violation => Some(self.broken(REQUEST_IN_USE, out)),
        }
    }

    /// Writes what has come for this session, as long as answers find room.
    pub fn rpc_wake(&mut self, _: &mut Context<'_>, out: &mut Vec<u8>) -> Option<Flow> {
        if !self.rpc.has_some() {
            return None;
        }
        let bytes_max = self.shared.config.answer_bytes_max;
        let (hears_revoked, fox) = (self.rpc.hears_revoked(), self.is_fox());
        while out.len() < bytes_max {
            let Some(delivery) = self.rpc.next() else { break };
            let procedure = self.rpc.over(&delivery);
            let manner = Manner { hears_revoked, fox, procedure: procedure.as_deref() };
            let said = deliveries::deliver(&delivery, manner, &mut |message| self.say(out, message));
            if !said {
                self.too_long(&delivery, out);
            }
        }
        None
    }

    /// What the client does not take must not leave anybody without an answer.
    fn too_long(&mut self, delivery: &weir_broker::calls::Delivery, out: &mut Vec<u8>) {
        use weir_broker::calls::Delivery;
        const TOO_LONG: &str = "wamp.error.payload_size_exceeded";
        match delivery {
            Delivery::Invocation(invocation) => self.rpc.refuse_invocation(invocation.number, TOO_LONG),
            Delivery::Result { request, progress: false, .. } | Delivery::Failed { request, .. } => {
                if let Some(request) = weir_wire::wamp::Id::new(*request) {
                    self.refuse(
                        out,
                        (MessageType::Call, request),
                        TOO_LONG,
                        "the answer is too long for the client",
                    );
                }
            }
            _ => {}
        }
    }

    /// The session is over.
    pub fn rpc_end(&mut self) {
        self.rpc.end();
    }
}
