//! What comes of calls, as TASK, OK, EMIT and ERR.

use weir_broker::calls::{Delivery, Invocation, Payload, Why};
use weir_wire::hyper::{Data, Reply, Task, code};
use weir_wire::wamp::{Args, Id, Raw};

use super::answers::{code_of, data_of};
use super::channel::Hyper;
use super::form::value_or_null;
use crate::wamp::rpc::convert::{self, format_of};
use crate::wamp::rpc::no_callee;

impl Hyper {
    /// Writes what has come for this session, as long as answers find room.
    pub fn deliver(&mut self, out: &mut Vec<u8>) {
        let bytes_max = self.wamp.shared.config.answer_bytes_max;
        while out.len() < bytes_max {
            let Some(delivery) = self.wamp.rpc.next() else { break };
            let procedure = self.wamp.rpc.over(&delivery);
            self.deliver_one(&delivery, procedure.as_deref(), out);
        }
    }

    fn deliver_one(&mut self, delivery: &Delivery, procedure: Option<&str>, out: &mut Vec<u8>) {
        match delivery {
            Delivery::Invocation(invocation) => self.task(invocation, out),
            Delivery::Result { request, progress, payload } => {
                let Some(id) = Id::new(*request) else { return };
                let data = body_of(payload);
                match progress {
                    true => Reply::Emit { id, data }.append(out),
                    false => Reply::Ok { id, qid: None, data: Some(data) }.append(out),
                }
            }
            Delivery::Failed { request, why, payload } => {
                if let Some(id) = Id::new(*request) {
                    self.failed(id, (why, procedure.unwrap_or_default()), payload, out);
                }
            }
            Delivery::Registered { request, registration } => {
                let (Some(id), Some(uri)) = (Id::new(*request), self.registering.remove(request)) else {
                    return;
                };
                self.registrations.insert(*registration, (id, uri));
                Reply::Ack { id, qid: *registration }.append(out);
            }
            Delivery::NotRegistered { request, error } => {
                self.registering.remove(request);
                self.refuse(Id::new(*request), code::INVALID_ARGUMENT, &error.to_string(), out);
            }
            Delivery::Unregistered { request, registration } => {
                self.registrations.remove(registration);
                if let Some(id) = Id::new(*request) {
                    Reply::Ok { id, qid: None, data: None }.append(out);
                }
            }
            Delivery::Revoked { registration } => {
                self.registrations.remove(registration);
            }
            // A callee of this protocol cannot be told to stop.
            Delivery::Interrupt { .. } => {}
        }
    }

    fn task(&self, invocation: &Invocation, out: &mut Vec<u8>) {
        let Some((id, uri)) = self.registrations.get(&invocation.registration) else {
            return self.wamp.rpc.refuse_invocation(invocation.number, "wamp.error.no_available_callee");
        };
        let called = invocation.procedure.as_deref().map(weir_wire::wamp::uri::of_topic);
        let format = format_of(invocation.payload.format);
        let headers = invocation.payload.kwargs.as_deref().map(|kwargs| Raw::checked(format, kwargs));
        let task = Task {
            id: *id,
            uri: called.as_deref().unwrap_or(uri),
            qid: invocation.number,
            receive_progress: invocation.receive_progress,
            headers,
            data: body_of(&invocation.payload),
        };
        Reply::Task(task).append(out);
    }

    /// A callee of this protocol says anything; one of another has an error with a name.
    fn failed(&self, id: Id, (why, uri): (&Why, &str), payload: &Payload, out: &mut Vec<u8>) {
        let given = convert::given(payload);
        let whole = convert::whole(payload);
        let data = match (why, whole) {
            (Why::Callee(_), Some(said)) => Data::Plain(said),
            (Why::Callee(error), None) => {
                let first = match given.args {
                    Some(Args::All(list)) => list.elements().next().and_then(Raw::text),
                    _ => None,
                };
                let message = first.as_deref().unwrap_or(error);
                return Reply::Error { id: Some(id), data: Data::FailedBy { code: error, message } }
                    .append(out);
            }
            (Why::NoSuchProcedure, _) => {
                return self.refuse(Some(id), code::NO_SUCH_PROCEDURE, &no_callee(uri), out);
            }
            (why, _) => {
                let error = convert::error_uri(why);
                match code_of(error) {
                    Some(code) => Data::Failed { code, message: error },
                    None => Data::FailedBy { code: error, message: error },
                }
            }
        };
        Reply::Error { id: Some(id), data }.append(out);
    }
}

fn body_of(payload: &Payload) -> Data<'_> {
    convert::whole(payload).map_or_else(|| data_of(&convert::given(payload)), value_or_null)
}
