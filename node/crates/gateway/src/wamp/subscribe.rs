//! SUBSCRIBE and UNSUBSCRIBE.

use std::collections::{HashMap, VecDeque};

use metrics::counter;
use smallvec::SmallVec;
use weir_broker::clock;
use weir_broker::ledger::Loss;
use weir_broker::outbox::Chunk;
use weir_broker::store::SubscriptionOptions;
use weir_model::{Filter, Qos, Reason};
use weir_wire::wamp::message::{self, Match, MessageType, Subscribed, Unsubscribed};
use weir_wire::wamp::uri::Pattern;
use weir_wire::wamp::{Id, Message};

use super::channel::Wamp;
use super::reason::{self, INVALID_URI, NO_SUCH_SUBSCRIPTION};
use super::retained::Replay;
use super::{form, meta, subscriptions};
use crate::connection::{Flow, Work};

/// Subscriptions given up whose last events may still come.
const LEFT_MAX: usize = 64;

/// What a session has subscribed to. At most `broker.subscriptions_max`.
#[derive(Default)]
pub struct Held {
    by_number: HashMap<u32, Filter>,
    by_filter: HashMap<Filter, SmallVec<[u32; 1]>>,
    /// Given up lately: events that were on their way are left out.
    left: VecDeque<u32>,
}

impl Held {
    /// What a route of this filter has as its number now.
    fn route(&self, filter: &Filter) -> Option<u32> {
        self.by_filter.get(filter).map(|numbers| subscriptions::together(numbers))
    }
}

/// What SUBSCRIBE or UNSUBSCRIBE came to.
enum Answer {
    Subscribed { request: Id, number: u32, replay: Option<Replay> },
    Unsubscribed { request: Id, number: u32 },
    Failed { kind: MessageType, request: Id, number: u32 },
}

impl Wamp {
    pub fn subscribe(&mut self, subscribe: &message::Subscribe<'_>, out: &mut Vec<u8>) -> Option<Flow> {
        let (request, options) = (subscribe.request, &subscribe.options);
        let asked = (MessageType::Subscribe, request);
        let policy = options.match_policy.unwrap_or_default();
        let pattern = match Pattern::new(&subscribe.topic, policy, self.rules) {
            Ok(pattern) => pattern,
            Err(error) => {
                self.refuse_subscription(Reason::FilterInvalid, asked, INVALID_URI, &error.to_string(), out);
                return None;
            }
        };
        if let Err((reason, why)) = self.may_subscribe(&pattern) {
            self.refuse_subscription(reason, asked, reason::uri(reason, self.is_fox()), &why, out);
            return None;
        }
        let (realm, id) = (self.publisher.realm.name.clone(), self.id.get());
        let filter = pattern.filter().clone();
        let uri = (&*subscribe.topic, policy);
        let (number, is_first) = subscriptions::join(&realm, uri, &pattern, id, clock::unix());
        let wants = options.get_retained || options.retained || options.retained_state || options.snapshot;
        let replay = wants.then(|| Replay::new(number, pattern.clone()));
        let held = self.held.get_or_insert_default();
        held.left.retain(|left| *left != number);
        if held.by_number.contains_key(&number) {
            self.say(out, &Message::Subscribed(Subscribed { request, subscription: wire_id(number) }));
            self.replays.extend(replay);
            return None;
        }
        let before = held.route(&filter);
        held.by_number.insert(number, filter.clone());
        held.by_filter.entry(filter.clone()).or_default().push(number);
        let route = held.route(&filter);
        before.into_iter().chain(before).for_each(subscriptions::release);
        if is_first {
            self.tell(meta::Event::Created { number });
        }
        let needs_retained = replay.is_some();
        let list = [(filter, options_of(route))];
        let (broker, realm) = (self.publisher.broker.clone(), self.publisher.realm.clone());
        let session = self.publisher.session.clone();
        self.subscribing = true;
        Some(Flow::Work(Box::pin(async move {
            let done = broker.topics().subscribe(&realm, &session, &list).await.is_ok()
                && broker.met_everywhere(&session).await
                && (!needs_retained || broker.retained_is_current().await);
            Box::new(match done {
                true => Answer::Subscribed { request, number, replay },
                false => Answer::Failed { kind: MessageType::Subscribe, request, number },
            }) as Work
        })))
    }

    fn may_subscribe(&self, pattern: &Pattern) -> Result<(), (Reason, String)> {
        let filter = pattern.filter();
        let config = self.publisher.broker.config();
        if !config.allows_depth(filter.pattern()) {
            return Err((Reason::FilterInvalid, "uri has too many components".to_owned()));
        }
        if self.publisher.subscribe_right(filter).is_none() {
            return Err((Reason::NotAuthorized, "not authorized to subscribe".to_owned()));
        }
        if let Err(refusal) = self.publisher.may_subscribe(filter) {
            return Err((refusal.reason, refusal.why.to_string()));
        }
        let count = self.held.as_ref().map_or(0, |held| held.by_number.len());
        if count >= config.subscriptions_max {
            return Err((Reason::Quota, "too many subscriptions".to_owned()));
        }
        Ok(())
    }

    fn refuse_subscription(
        &self,
        reason: Reason,
        asked: (MessageType, Id),
        error: &str,
        why: &str,
        out: &mut Vec<u8>,
    ) {
        counter!("weir_gateway_subscriptions_refused_total", "reason" => reason.as_str()).increment(1);
        self.refuse(out, asked, error, why);
    }

    pub fn unsubscribe(&mut self, unsubscribe: &message::Unsubscribe, out: &mut Vec<u8>) -> Option<Flow> {
        let request = unsubscribe.request;
        let number = u32::try_from(unsubscribe.subscription.get()).unwrap_or(0);
        let Some((filter, route)) = self.give_up(number) else {
            self.refuse(out, (MessageType::Unsubscribe, request), NO_SUCH_SUBSCRIPTION, "");
            return None;
        };
        self.replays.retain(|replay| replay.number() != number);
        let (broker, realm) = (self.publisher.broker.clone(), self.publisher.realm.clone());
        let session = self.publisher.session.clone();
        self.subscribing = true;
        Some(Flow::Work(Box::pin(async move {
            let done = match route {
                Some(route) => {
                    let list = [(filter, options_of(Some(route)))];
                    broker.topics().subscribe(&realm, &session, &list).await
                }
                None => broker.topics().unsubscribe(&realm, &session, [filter]).await,
            };
            Box::new(match done {
                Ok(()) => Answer::Unsubscribed { request, number },
                Err(_) => Answer::Failed { kind: MessageType::Unsubscribe, request, number },
            }) as Work
        })))
    }

    /// Takes a subscription off the list; its filter, and what its route has as its number from now on.
    fn give_up(&mut self, number: u32) -> Option<(Filter, Option<u32>)> {
        let held = self.held.as_mut()?;
        let filter = held.by_number.remove(&number)?;
        let before = held.route(&filter);
        if let Some(numbers) = held.by_filter.get_mut(&filter) {
            numbers.retain(|known| *known != number);
            if numbers.is_empty() {
                held.by_filter.remove(&filter);
            }
        }
        let route = held.route(&filter);
        before.into_iter().chain(before).for_each(subscriptions::release);
        held.left.push_back(number);
        if held.left.len() > LEFT_MAX {
            held.left.pop_front();
        }
        Some((filter, route))
    }

    /// The routes have it, or have it no more: answer.
    pub fn subscribed(&mut self, work: Work, out: &mut Vec<u8>) -> Flow {
        let Ok(answer) = work.downcast::<Answer>() else {
            return self.abort(reason::uri(Reason::Internal, false), Reason::Internal, "", out);
        };
        self.subscribing = false;
        match *answer {
            Answer::Subscribed { request, number, replay } => {
                let subscription = wire_id(number);
                self.say(out, &Message::Subscribed(Subscribed { request, subscription }));
                self.replays.extend(replay);
                self.tell(meta::Event::Subscribed { number });
            }
            Answer::Unsubscribed { request, number } => {
                self.say(out, &Message::Unsubscribed(Unsubscribed { request: Some(request), revoked: None }));
                self.left(number);
            }
            Answer::Failed { kind, request, number } => {
                if kind == MessageType::Subscribe && self.give_up(number).is_some() {
                    self.left(number);
                }
                let uri = reason::uri(Reason::Unavailable, false);
                self.refuse(out, (kind, request), uri, "");
            }
        }
        Flow::Continue
    }

    fn left(&mut self, number: u32) {
        let is_last = subscriptions::leave(number, self.id.get());
        self.tell(meta::Event::Unsubscribed { number });
        if is_last {
            self.tell(meta::Event::Deleted { number });
        }
    }

    /// The session is over.
    pub fn forget_subscriptions(&mut self) {
        let Some(held) = self.held.take() else { return };
        for filter in held.by_filter.keys() {
            let route = held.route(filter);
            route.into_iter().chain(route).for_each(subscriptions::release);
        }
        held.by_number.keys().for_each(|number| self.left(*number));
    }

    /// Whether events of subscriptions that were given up may still come.
    pub fn has_left(&self) -> bool {
        self.held.as_ref().is_some_and(|held| !held.left.is_empty())
    }

    /// Waiting events without those of subscriptions that were given up meanwhile, and those the client does not take.
    pub fn wanted_frames(&mut self, chunks: VecDeque<Chunk>) -> VecDeque<Chunk> {
        let form = self.publisher.broker.form(form::form_id(self.serialization));
        let (mut frames, mut left_out, mut too_large) = (Vec::new(), 0, 0);
        for chunk in &chunks {
            let mut rest = chunk.bytes();
            while !rest.is_empty() {
                let (frame, behind) = rest.split_at(form.frame_len(rest));
                rest = behind;
                let number = form::subscription_of(frame, self.serialization).map_or(0, |id| id.get());
                let has_left = |held: &Held| held.left.iter().any(|left| u64::from(*left) == number);
                if frame.len() - 4 > self.peer_bytes_max {
                    too_large += 1;
                } else if self.held.as_ref().is_some_and(|held| has_left(held)) {
                    left_out += 1;
                } else {
                    frames.extend_from_slice(frame);
                }
            }
        }
        self.publisher.tally.delivered -= too_large + left_out;
        let (ledger, client) = (self.publisher.broker.ledger(), self.publisher.session.client_id());
        ledger.lost_by(client, "", Loss::TooLarge, too_large);
        ledger.lost_by(client, "", Loss::Offline, left_out);
        if frames.is_empty() { VecDeque::new() } else { VecDeque::from([Chunk::copied(frames)]) }
    }
}

/// A subscription's number on the wire.
pub fn wire_id(number: u32) -> Id {
    Id::new(u64::from(number.max(1))).unwrap_or_else(|| unreachable!("a number of 32 bits is an id"))
}

/// A publisher does not hear itself unless it says so.
fn options_of(route: Option<u32>) -> SubscriptionOptions {
    SubscriptionOptions {
        qos: Qos::AtMostOnce,
        no_local: true,
        retain_as_published: false,
        subscription_id: route,
    }
}

/// The name of a match policy.
pub fn policy_name(policy: Match) -> &'static str {
    match policy {
        Match::Exact => "exact",
        Match::Prefix => "prefix",
        Match::Wildcard => "wildcard",
    }
}
