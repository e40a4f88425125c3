//! World `middleware`: called in the path of a connection, on the thread that asks.

use weir_model::{Qos, UnixMillis};

use super::Pool;
use super::events::{boxed, check_outputs, qos, user_properties};
use super::turn::{Answer, Turn, within_here, wrong_world};
use crate::bindings::middleware::weir::handler::hooks;
use crate::call::{Action, Client, Passing};
use crate::instance::{Exports, Instance};
use crate::limits::Limits;
use crate::outcome::{Changed, Failure, Invocation, Passage, Verdict};
use crate::program::Linked;

/// Each of these takes at most the binding's `time` of the calling thread, and is [`Failure::Busy`] at once when all
/// instances serve other threads: with as many instances as there are threads that never is.
impl Pool {
    /// After the client has proved who it is, before its connection is accepted.
    pub fn on_connect(&self, client: &Client<'_>, now: UnixMillis) -> Invocation<Verdict> {
        self.ask(now, |instance, time| {
            let client = client.into();
            match &instance.exports {
                Exports::Middleware(exports) => exports.call_on_connect(&mut instance.store, client),
                Exports::MiddlewareWasi(exports) => {
                    within_here(time, exports.call_on_connect(&mut instance.store, client))
                }
                _ => wrong_world(),
            }
            .map(|verdict| Ok(verdict.into()))
        })
    }

    /// After the node's own policies have allowed it.
    pub fn on_authorize(
        &self,
        client: &Client<'_>,
        action: Action,
        topic: &str,
        now: UnixMillis,
    ) -> Invocation<Verdict> {
        self.ask(now, |instance, time| {
            let (client, action) = (client.into(), action.into());
            match &instance.exports {
                Exports::Middleware(exports) => {
                    exports.call_on_authorize(&mut instance.store, client, action, topic)
                }
                Exports::MiddlewareWasi(exports) => {
                    within_here(time, exports.call_on_authorize(&mut instance.store, client, action, topic))
                }
                _ => wrong_world(),
            }
            .map(|verdict| Ok(verdict.into()))
        })
    }

    /// Before a publish reaches anybody or any store.
    pub fn on_publish(
        &self,
        client: &Client<'_>,
        message: &Passing<'_>,
        now: UnixMillis,
    ) -> Invocation<Passage> {
        self.ask(now, |instance, time| {
            let user = user_properties(message.properties);
            let (client, message) = (client.into(), passing(message, &user));
            match &instance.exports {
                Exports::Middleware(exports) => exports.call_on_publish(&mut instance.store, client, message),
                Exports::MiddlewareWasi(exports) => {
                    within_here(time, exports.call_on_publish(&mut instance.store, client, message))
                }
                _ => wrong_world(),
            }
            .map(|passage| read(passage, self.limits()))
        })
    }

    /// Before a message is sent to one receiver.
    pub fn on_deliver(
        &self,
        client: &Client<'_>,
        message: &Passing<'_>,
        now: UnixMillis,
    ) -> Invocation<Passage> {
        self.ask(now, |instance, time| {
            let user = user_properties(message.properties);
            let (client, message) = (client.into(), passing(message, &user));
            match &instance.exports {
                Exports::Middleware(exports) => exports.call_on_deliver(&mut instance.store, client, message),
                Exports::MiddlewareWasi(exports) => {
                    within_here(time, exports.call_on_deliver(&mut instance.store, client, message))
                }
                _ => wrong_world(),
            }
            .map(|passage| read(passage, self.limits()))
        })
    }

    fn ask<T>(
        &self,
        now: UnixMillis,
        call: impl FnOnce(&mut Instance, std::time::Duration) -> Answer<T>,
    ) -> Invocation<T> {
        let mut turn = match self.turn_of_middleware() {
            Ok(turn) => turn,
            Err(failure) => return self.not_called(failure),
        };
        turn.begin(now, None);
        let answer = call(&mut turn.instance, self.limits().time);
        turn.end(answer)
    }

    fn turn_of_middleware(&self) -> Result<Turn<'_>, Failure> {
        match self.program().linked {
            Linked::MiddlewareWasi(_) => {
                let time = self.limits().time.max(self.source.start_timeout);
                let turn = within_here(time, async { Ok(self.turn().await) });
                turn.map_err(|_late| Failure::Busy)?
            }
            _ => self.turn_here(),
        }
    }
}

fn passing<'a>(message: &Passing<'a>, user: &'a [(&'a str, &'a str)]) -> hooks::PassingParam<'a> {
    hooks::PassingParam {
        topic: message.topic,
        payload: message.payload,
        qos: message.qos as u8,
        retain: message.retain,
        content_type: message.properties.and_then(|p| p.content_type.as_deref()),
        user_properties: user,
    }
}

fn read(passage: hooks::Passage, limits: &Limits) -> Result<Passage, Failure> {
    let message = match passage {
        hooks::Passage::Pass => return Ok(Passage::Pass),
        hooks::Passage::Refuse(reason) => return Ok(Passage::Refuse(reason)),
        hooks::Passage::Change(message) => message,
    };
    check_outputs([message.topic.len() + message.payload.len()].into_iter(), limits)?;
    let qos: Qos = qos(message.qos)?;
    Ok(Passage::Change(Box::new(Changed {
        topic: message.topic.into(),
        payload: message.payload.into(),
        qos,
        retain: message.retain,
        content_type: message.content_type.map(Into::into),
        user: boxed(message.user_properties),
    })))
}

impl<'a> From<&Client<'a>> for hooks::Client<'a> {
    fn from(client: &Client<'a>) -> hooks::Client<'a> {
        hooks::Client {
            client_id: client.client_id,
            user: client.user,
            realm: client.realm,
            protocol: client.protocol,
            address: client.address,
        }
    }
}

impl From<Action> for hooks::Action {
    fn from(action: Action) -> hooks::Action {
        match action {
            Action::Publish => hooks::Action::Publish,
            Action::Subscribe => hooks::Action::Subscribe,
        }
    }
}

impl From<hooks::Verdict> for Verdict {
    fn from(verdict: hooks::Verdict) -> Verdict {
        match verdict {
            hooks::Verdict::Pass => Verdict::Pass,
            hooks::Verdict::Refuse(reason) => Verdict::Refuse(reason),
        }
    }
}
