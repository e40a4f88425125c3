//! What WAMP answers, in Hyper's words.

use weir_wire::hyper::{Data, Reply, code};
use weir_wire::wamp::message::{Error, MessageType};
use weir_wire::wamp::rawsocket::{self, Frame};
use weir_wire::wamp::{Args, Limits, Message, Payload, decode};

use super::channel::Hyper;
use super::form;
use super::login::INSIDE;

/// What is read of what this process has written.
const LIMITS: Limits = Limits { message_bytes_max: 1 << 28, depth_max: 128, items_max: 1 << 24 };

impl Hyper {
    /// Says what stands in frames: WAMP's messages, and retained events in this protocol's own form.
    pub fn answer(&mut self, mut frames: &[u8], out: &mut Vec<u8>) {
        while let [kind, ..] = *frames {
            if kind == form::KIND {
                let Some(behind) = self.event(frames, out) else { return };
                frames = behind;
                continue;
            }
            let Ok(Some((Frame { payload, .. }, behind))) = rawsocket::read_frame(frames, usize::MAX) else {
                return;
            };
            frames = behind;
            if let Ok(message) = decode(payload, INSIDE.format, &LIMITS) {
                self.translate(&message, out);
            }
        }
    }

    fn translate(&mut self, message: &Message<'_>, out: &mut Vec<u8>) {
        match message {
            Message::Subscribed(subscribed) => {
                let number = u32::try_from(subscribed.subscription.get()).unwrap_or(0);
                let qid = self.traces.granted(subscribed.request, number);
                Reply::Ack { id: subscribed.request, qid }.append(out);
            }
            Message::Unsubscribed(unsubscribed) => match unsubscribed.request {
                Some(id) => Reply::Ok { id, qid: None, data: None }.append(out),
                None => {
                    let ended = unsubscribed.revoked.as_ref().and_then(|revoked| revoked.subscription);
                    let number = ended.and_then(|id| u32::try_from(id.get()).ok()).unwrap_or(0);
                    for trace in self.traces.ended(number) {
                        Reply::Ok { id: trace.id, qid: Some(trace.qid), data: None }.append(out);
                    }
                }
            },
            Message::Published(published) => {
                let qid = Some(published.publication.get());
                Reply::Ok { id: published.request, qid, data: None }.append(out);
            }
            Message::Result(result) => {
                let data = Some(data_of(&result.payload));
                Reply::Ok { id: result.request, qid: None, data }.append(out);
            }
            Message::Error(error) => self.translate_error(error, out),
            Message::Goodbye(goodbye) => {
                let message = goodbye.details.message.as_deref().unwrap_or_default();
                Reply::Error { id: None, data: Data::FailedBy { code: &goodbye.reason, message } }
                    .append(out);
            }
            Message::Abort(abort) => {
                let message = abort.details.message.as_deref().unwrap_or_default();
                Reply::Error { id: None, data: Data::FailedBy { code: &abort.reason, message } }.append(out);
            }
            _ => {}
        }
    }

    fn translate_error(&mut self, error: &Error<'_>, out: &mut Vec<u8>) {
        match error.request_type {
            MessageType::Subscribe => self.traces.refused(error.request),
            MessageType::Register => drop(self.registering.remove(&error.request.get())),
            _ => {}
        }
        let first = match error.payload.args {
            Some(Args::All(list)) => list.elements().next().and_then(|first| first.text()),
            _ => None,
        };
        let message = first.as_deref().unwrap_or(&error.error);
        match code_of(&error.error) {
            Some(code) => self.refuse(Some(error.request), code, message, out),
            None => {
                metrics::counter!("weir_gateway_hyper_errors_total").increment(1);
                let data = Data::FailedBy { code: &error.error, message };
                Reply::Error { id: Some(error.request), data }.append(out);
            }
        }
    }
}

/// The number that clients of fox-wamp know an error by.
pub fn code_of(uri: &str) -> Option<u64> {
    Some(match uri {
        "wamp.error.no_such_procedure" => code::NO_SUCH_PROCEDURE,
        "wamp.error.no_such_registration" | "wamp.error.no_such_subscription" => code::NO_SUCH_REGISTRATION,
        "wamp.error.authorization_failed" => code::AUTHORIZATION_FAILED,
        "wamp.error.not_authorized" => code::NOT_AUTHORIZED,
        "wamp.error.invalid_payload" => code::INVALID_PAYLOAD,
        "wamp.error.invalid_uri" => code::INVALID_URI,
        "wamp.error.invalid_argument" => code::INVALID_ARGUMENT,
        _ => return None,
    })
}

/// Arguments as the one value they are here.
pub fn data_of<'a>(payload: &Payload<'a>) -> Data<'a> {
    match payload.args {
        None => Data::Null,
        Some(Args::One(value)) => form::value_or_null(value),
        Some(Args::OneText(text)) => Data::Text(text),
        Some(Args::OneBinary(bytes)) => Data::Binary(bytes),
        Some(Args::All(list)) => {
            let mut elements = list.elements();
            match (elements.next(), elements.next()) {
                (None, _) => Data::Null,
                (Some(one), None) => form::value_or_null(one),
                _ => Data::Value(list),
            }
        }
    }
}
