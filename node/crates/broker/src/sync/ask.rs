//! Asking the desk: what a publish brings with it.

use std::sync::Arc;

use weir_model::{Level, Message, MessageId};

use super::conditions::Conditions;
use super::decide::{Ask, Input};
use super::desk::{Job, next_id};
use super::guard::Holder;
pub(crate) use super::guard::Request;
use super::ticket::Ticket;
use crate::broker::Broker;
use crate::realm::Realm;
use crate::session::Session;

/// A publish that has conditions, or comes to a topic that has a guard.
pub(crate) struct Asking<'a> {
    pub message: &'a Arc<Message>,
    pub conditions: Option<&'a Conditions>,
    /// Who publishes; `None` = the node itself.
    pub session: Option<&'a Arc<Session>>,
    /// Under which it is published, if it has an id already.
    pub id: Option<MessageId>,
    pub request: Request,
    /// What its steps are answered at, if not at the store's own level.
    pub level: Option<Level>,
}

impl Broker {
    /// Has the desk of its topic decide a publish, in the order of calls.
    pub(crate) fn decide(&self, realm: &Arc<Realm>, asking: Asking<'_>) -> Arc<Ticket> {
        let Asking { message, conditions, session, id, request, level } = asking;
        let ask = Ask {
            id: id.unwrap_or_else(next_id),
            message: message.clone(),
            holder: self.holder(session),
            request,
            when: conditions.and_then(|conditions| conditions.when.clone()),
            watch: conditions.is_some_and(|conditions| conditions.watch),
            will: conditions.and_then(|conditions| conditions.will.clone()),
            will_id: next_id(),
            repeat: conditions.is_some_and(|conditions| conditions.repeat),
        };
        let ticket = Ticket::new(session.cloned());
        let input = Input::Publish(Box::new(ask));
        self.ask_desk(realm, &message.topic, Job { input, ticket: Some(ticket.clone()), level });
        ticket
    }

    fn holder(&self, session: Option<&Arc<Session>>) -> Holder {
        let home = self.guard_home();
        let Some(session) = session else {
            return Holder { client_id: "".into(), number: 0, is_stored: false, home };
        };
        let (number, is_stored) = match session.stored {
            Some(generation) => (generation, true),
            None => (session.connection(), false),
        };
        Holder { client_id: session.client_id().clone(), number, is_stored, home }
    }
}
