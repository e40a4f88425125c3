//! Middleware at the door: who speaks, and what becomes of a message that it changes or refuses on its way in.

use std::sync::Arc;

use weir_model::{Filter, Message, Principal};

use super::{Answering, Publisher, Verdict, plan};
use crate::binding::Hook;
use crate::binding::middleware::{Altered, Refusal, Who};
use crate::broker::Broker;
use crate::form::Publish;
use crate::ledger::Refused;
use crate::realm::Realm;
use crate::session::Session;

/// Who is at the door, and of what.
#[derive(Clone, Copy)]
pub struct Speaker<'a> {
    pub broker: &'a Broker,
    pub realm: &'a Realm,
    pub session: &'a Session,
    pub principal: &'a Principal,
    /// `None` = that of the session's connection.
    pub protocol: Option<&'static str>,
}

impl<'a> Speaker<'a> {
    /// As middleware is told.
    pub fn who(&self) -> Who<'a> {
        let who = Who::of(self.broker, self.session, self.principal.user_id.as_deref());
        Who { protocol: self.protocol.unwrap_or(who.protocol), ..who }
    }

    /// What middleware makes of a message; `None` = it goes on as it is. Of a delayed one it sees the topic it is for.
    pub(super) fn passes(&self, publish: &Publish<'_>) -> Result<Option<Altered>, Refusal> {
        let topic = plan::split_delayed(publish.topic).map_or(publish.topic, |(_, target)| target);
        self.realm.middleware.on_publish(self.broker, &self.who(), topic, publish)
    }
}

impl Publisher {
    fn speaker(&self) -> Speaker<'_> {
        let Publisher { broker, realm, session, principal, active, .. } = self;
        let protocol = active.as_ref().and_then(|active| active.protocol);
        Speaker { broker, realm, session, principal, protocol }
    }

    /// What middleware has changed is judged as if it had come like that, but it is not asked again.
    pub(super) fn publish_altered(
        &mut self,
        publish: &Publish<'_>,
        altered: Altered,
        answering: Answering,
    ) -> Verdict {
        let Altered { topic, payload, qos, retain, properties } = altered;
        let topic = match plan::split_delayed(publish.topic) {
            Some((seconds, _)) => format!("{}{seconds}/{topic}", plan::DELAYED),
            None => topic.to_string(),
        };
        let expiry_seconds = publish.expiry_seconds;
        let conditions = publish.conditions.clone();
        let (topic, payload, is_json) = (&topic, &payload, false);
        let publish =
            Publish { topic, payload, is_json, qos, retain, expiry_seconds, properties, conditions };
        self.take(publish, answering, false)
    }

    /// Middleware does not let a message pass.
    pub(super) fn stop(&mut self, publish: &Publish<'_>, refusal: Refusal) -> Verdict {
        self.tally.receive(publish.payload.len());
        self.broker.ledger().refuse(Refused::Middleware);
        self.active.get_or_insert_default().why = Some(refusal.why);
        Verdict::Refused(refusal.reason)
    }

    /// Why middleware has refused the message answered last, if it has.
    pub fn why(&mut self) -> Option<Arc<str>> {
        self.active.as_mut()?.why.take()
    }

    /// Whether middleware lets a subscription pass that the policy allows.
    pub fn may_subscribe(&self, filter: &Filter) -> Result<(), Refusal> {
        if !self.realm.middleware.wants(Hook::Authorize) {
            return Ok(());
        }
        let verdict = self.realm.middleware.on_subscribe(&self.speaker().who(), filter);
        verdict.refusal.map_or(Ok(()), Err)
    }

    /// What middleware makes of a message on its way to this client; `None` = it goes as it is.
    #[inline]
    pub fn on_deliver(&self, message: &Message) -> Result<Option<Arc<Message>>, Refusal> {
        match self.realm.middleware.wants(Hook::Deliver) {
            true => self.broker.on_deliver(&self.session, message),
            false => Ok(None),
        }
    }
}
