//! What becomes of a topic's value and guard: plain code, without store, clock or task.

use std::sync::Arc;

use bytes::Bytes;
use weir_model::{Message, MessageId, Qos, Reason, Topic, UnixMillis};

use super::condition::Condition;
use super::guard::{Done, Guard, Holder, Owed, Place, Request, Waiter, Will};
use super::merge::merged;

/// Values that one step may set one after the other: waiters that are granted in turn. What is left is granted by the
/// next step, which follows at once.
pub(super) const CHAIN_MAX: usize = 32;

/// Answers kept at a topic for publishes that may come again; the oldest go first.
const DONE_MAX: usize = 32;

/// What holds for all that is decided at a topic.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub merges: bool,
    pub waiters_max: usize,
    /// Milliseconds a waiter waits; 0 = for ever.
    pub watch_ms: u64,
    /// Milliseconds an answer is known.
    pub answers_ms: u64,
    pub guard_bytes_max: usize,
    /// This node.
    pub home: u64,
}

/// A publish that asks to be decided.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub id: MessageId,
    pub message: Arc<Message>,
    pub holder: Holder,
    pub request: Request,
    pub when: Option<Condition>,
    pub watch: bool,
    pub will: Option<Bytes>,
    /// Under which its will is published.
    pub will_id: MessageId,
    /// It may have been here before.
    pub repeat: bool,
}

impl Ask {
    /// Whether it asks for nothing, and is only here because others do: who published it hands it out and answers for it.
    pub fn is_plain(&self) -> bool {
        self.when.is_none() && self.will.is_none() && !self.watch && self.request == Request::Once
    }
}

/// What happens at a topic.
#[derive(Debug, Clone)]
pub(super) enum Input {
    Publish(Box<Ask>),
    /// A session is over.
    Ended(Holder),
    /// These have reached their receivers.
    HandedOut(Vec<MessageId>),
    /// The node that was to hand this out is gone: this one does.
    Adopt(MessageId),
    /// Time has gone by.
    Look,
}

/// What an input comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// It happened. Plain ones are for the publisher to hand out.
    Accepted {
        place: Place,
    },
    /// It had happened before.
    Repeated {
        place: Place,
    },
    /// It waits, under this id.
    Waits {
        id: MessageId,
    },
    /// It had happened before, and is being handed out under this id.
    UnderWay {
        id: MessageId,
    },
    Refused(Reason),
    /// Nobody waits for an answer.
    Noted,
}

/// A topic while it is decided what becomes of it.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    topic: Topic,
    /// `None` also when it has expired.
    pub value: Option<Arc<Message>>,
    pub guard: Guard,
    /// What the value becomes, one after the other; `None` = deleted.
    pub values: Vec<Option<Arc<Message>>>,
}

impl Cell {
    pub fn new(topic: Topic, value: Option<Arc<Message>>, guard: Guard) -> Cell {
        Cell { topic, value, guard, values: Vec::new() }
    }

    /// Whether one more step is to follow, for this one was full.
    pub fn is_full(&self) -> bool {
        self.values.len() >= CHAIN_MAX
    }

    /// Decides one input.
    pub fn decide(&mut self, input: Input, rules: &Rules, now: UnixMillis) -> Reply {
        let reply = match input {
            Input::Publish(ask) => self.publish(*ask, rules, now),
            Input::Ended(holder) => {
                self.end(&holder, rules);
                Reply::Noted
            }
            Input::HandedOut(ids) => {
                self.guard.owed.retain(|owed| !ids.contains(&owed.id));
                Reply::Noted
            }
            Input::Adopt(id) => {
                let owed = self.guard.owed.iter_mut().filter(|owed| owed.id == id);
                owed.for_each(|owed| owed.home = rules.home);
                Reply::Noted
            }
            Input::Look => {
                self.forget_past(now);
                Reply::Noted
            }
        };
        self.grant(rules, now);
        reply
    }

    fn publish(&mut self, ask: Ask, rules: &Rules, now: UnixMillis) -> Reply {
        // Who waits comes first, also when the step before was full.
        self.grant(rules, now);
        if let Some(reply) = self.repeated(&ask) {
            return reply;
        }
        let before = self.clone();
        let reply = if self.meets(ask.when.as_ref()) {
            Reply::Accepted { place: self.accept(ask, rules, now) }
        } else if !ask.watch {
            return Reply::Refused(Reason::ConditionNotMet);
        } else if self.guard.waiters.len() >= rules.waiters_max {
            return Reply::Refused(Reason::Quota);
        } else {
            let id = ask.id;
            self.park(ask, rules, now);
            Reply::Waits { id }
        };
        if self.guard.encode().is_some_and(|bytes| bytes.len() > rules.guard_bytes_max) {
            *self = before;
            return Reply::Refused(Reason::Quota);
        }
        reply
    }

    /// What was answered, or is to be, to a publish that was here before.
    fn repeated(&mut self, ask: &Ask) -> Option<Reply> {
        let is_known = match ask.request {
            Request::Once => false,
            Request::Packet { .. } => ask.repeat,
            Request::Received(_) | Request::Key(_) => true,
        };
        if !is_known {
            return None;
        }
        let is_same = |holder: &Holder, request: &Request| {
            *request == ask.request && (matches!(request, Request::Key(_)) || holder.is(&ask.holder))
        };
        if let Some(waiter) =
            self.guard.waiters.iter_mut().find(|waiter| is_same(&waiter.holder, &waiter.request))
        {
            waiter.holder = ask.holder.clone();
            return Some(Reply::Waits { id: waiter.id });
        }
        let done = self.guard.done.iter().find(|done| is_same(&done.holder, &done.request))?;
        let is_owed = self.guard.owed.iter().any(|owed| owed.id == done.id);
        Some(match is_owed {
            true => Reply::UnderWay { id: done.id },
            false => Reply::Repeated { place: done.place },
        })
    }

    fn meets(&self, when: Option<&Condition>) -> bool {
        when.is_none_or(|when| when.is_met_by(self.value.as_ref().map(|value| &*value.payload)))
    }

    fn accept(&mut self, ask: Ask, rules: &Rules, now: UnixMillis) -> Place {
        let is_plain = ask.is_plain();
        let place = self.set(&ask.message, rules);
        if place != Place::Nowhere {
            // Any other write clears it.
            let (holder, id) = (ask.holder.clone(), ask.will_id);
            self.guard.will = ask.will.map(|payload| Will { holder, payload, id });
        }
        if is_plain {
            return place;
        }
        let home = ask.holder.home;
        let message = self.shown(ask.message, place);
        self.guard.owed.push(Owed { id: ask.id, message, place, home });
        if ask.request != Request::Once {
            let until = UnixMillis(now.0.saturating_add(rules.answers_ms));
            self.guard.done.push(Done { id: ask.id, holder: ask.holder, request: ask.request, place, until });
            let over = self.guard.done.len().saturating_sub(DONE_MAX);
            self.guard.done.drain(..over);
        }
        place
    }

    /// A message becomes the value, if it is to be retained.
    fn set(&mut self, message: &Arc<Message>, rules: &Rules) -> Place {
        if !message.retain {
            return Place::Nowhere;
        }
        let value = (!message.payload.is_empty()).then(|| self.to_keep(message, rules));
        self.value = value.clone();
        self.values.push(value);
        Place::With(u32::try_from(self.values.len() - 1).unwrap_or(u32::MAX))
    }

    /// What subscribers see of a message: the value as it is kept (`guarantees.md` 5), or what removed it.
    fn shown(&self, message: Arc<Message>, place: Place) -> Arc<Message> {
        match place {
            Place::With(at) => self.values.get(at as usize).cloned().flatten().unwrap_or(message),
            Place::Nowhere | Place::At(_) => message,
        }
    }

    fn to_keep(&self, message: &Arc<Message>, rules: &Rules) -> Arc<Message> {
        let old = self.value.as_ref().filter(|_| rules.merges);
        let Some(old) = old else { return message.clone() };
        let payload = merged(Some(&old.payload), &message.payload);
        Arc::new(Message { payload, ..Message::clone(message) })
    }

    fn park(&mut self, ask: Ask, rules: &Rules, now: UnixMillis) {
        let Ask { id, message, holder, request, when, will, will_id, .. } = ask;
        let when = when.map_or_else(|| "null".into(), |when| Arc::from(when.as_str()));
        let until = (rules.watch_ms > 0).then(|| UnixMillis(now.0.saturating_add(rules.watch_ms)));
        self.guard.waiters.push(Waiter { id, holder, request, message, when, will, will_id, until });
    }

    /// The session leaves, with what it waits for, and with its will if it still has the value.
    fn end(&mut self, holder: &Holder, rules: &Rules) {
        self.guard.waiters.retain(|waiter| !waiter.holder.is(holder));
        self.guard.done.retain(|done| matches!(done.request, Request::Key(_)) || !done.holder.is(holder));
        let Some(will) = self.guard.will.take_if(|will| will.holder.is(holder)) else { return };
        let message = Arc::new(Message {
            topic: self.topic.clone(),
            payload: will.payload,
            qos: Qos::AtLeastOnce,
            retain: true,
            expires_at: None,
            properties: None,
        });
        let place = self.set(&message, rules);
        let message = self.shown(message, place);
        self.guard.owed.push(Owed { id: will.id, message, place, home: rules.home });
    }

    fn forget_past(&mut self, now: UnixMillis) {
        self.guard.waiters.retain(|waiter| waiter.until.is_none_or(|until| until > now));
        self.guard.done.retain(|done| done.until > now);
    }

    /// The first who waits and whose condition holds has its turn, and so on.
    fn grant(&mut self, rules: &Rules, now: UnixMillis) {
        while !self.is_full() {
            let next = self.guard.waiters.iter().position(|waiter| {
                let is_in_time = waiter.until.is_none_or(|until| until > now);
                is_in_time && Condition::parse(&waiter.when).is_ok_and(|when| self.meets(Some(&when)))
            });
            let Some(next) = next else { return };
            let Waiter { id, holder, request, message, will, will_id, when, .. } =
                self.guard.waiters.remove(next);
            let when = Condition::parse(&when).ok();
            let (watch, repeat) = (true, false);
            self.accept(Ask { id, message, holder, request, when, watch, will, will_id, repeat }, rules, now);
        }
    }
}

#[cfg(test)]
mod tests;
