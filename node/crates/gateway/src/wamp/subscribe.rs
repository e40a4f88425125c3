//! SUBSCRIBE and UNSUBSCRIBE.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use metrics::counter;
use smallvec::SmallVec;
use weir_broker::clock;
use weir_broker::ledger::Loss;
use weir_broker::outbox::Chunk;
use weir_broker::publish::Publisher;
use weir_broker::store::SubscriptionOptions;
use weir_broker::stream::history::Past;
use weir_broker::sync::{Reading, ReadingError, Retained, Selector};
use weir_model::{Filter, Qos, Reason};
use weir_wire::wamp::message::{
    self, Match, MessageType, SubscribeOptions, Subscribed, SubscriptionRevoked, Unsubscribed,
};
use weir_wire::wamp::uri::Pattern;
use weir_wire::wamp::{Id, Message};

use super::catching::{Catching, Live};
use super::channel::Wamp;
use super::reason::{self, INVALID_URI, NO_SUCH_SUBSCRIPTION};
use super::retained::Replay;
use super::subscriptions::Manner;
use super::{meta, reading, subscriptions};
use crate::connection::{Flow, Work};

/// Subscriptions given up whose last events may still come.
const LEFT_MAX: usize = 64;

/// Numbers of routes that are kept after they were replaced. One change is made after the other, so that the oldest of
/// them are needed by nobody.
const REPLACED_MAX: usize = 4;

/// What a session has subscribed to. At most `broker.subscriptions_max`.
#[derive(Default)]
pub struct Held {
    by_number: HashMap<u32, Filter>,
    by_filter: HashMap<Filter, SmallVec<[u32; 1]>>,
    /// Given up lately: events that were on their way are left out.
    left: VecDeque<u32>,
    /// What routes had as their numbers before they changed. Until a route has changed, and a little longer, events are
    /// encoded for these.
    replaced: VecDeque<u32>,
    /// Those that are given what was recorded before.
    catching: Vec<Catching>,
}

impl Held {
    /// What a route of this filter has as its number now.
    fn route(&self, filter: &Filter) -> Option<u32> {
        self.by_filter.get(filter).map(|numbers| subscriptions::together(numbers))
    }

    /// A route is to get another number than `before`, which was just asked for.
    fn replace(&mut self, before: Option<u32>) {
        let Some(before) = before else { return };
        subscriptions::release(before);
        self.replaced.push_back(before);
        if self.replaced.len() > REPLACED_MAX
            && let Some(oldest) = self.replaced.pop_front()
        {
            subscriptions::release(oldest);
        }
    }
}

/// What a SUBSCRIBE asks for that was let in.
struct Wanted {
    filter: Filter,
    manner: Manner,
    past: Option<Past>,
    reading: Reading,
}

/// What SUBSCRIBE or UNSUBSCRIBE came to.
enum Answer {
    Subscribed { request: Id, number: u32, replay: Option<Replay>, is_first: bool },
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
        let wanted = match self.wanted(&pattern, options) {
            Ok(wanted) => wanted,
            Err((reason, why)) => {
                self.refuse_subscription(reason, asked, reason::uri(reason, self.is_fox()), &why, out);
                return None;
            }
        };
        let Wanted { filter, manner, past, reading } = wanted;
        let (realm, id) = (self.publisher.realm.name.clone(), self.id.get());
        let uri = (&*subscribe.topic, policy, manner);
        let (number, is_first) = subscriptions::join(&realm, uri, &pattern, id, clock::unix());
        let replay = Replay::new(number, pattern, &filter)
            .with_past(past)
            .with_retained(reading.retained != Retained::None)
            .snapshot(reading.snapshot);
        let replay = Some(replay).filter(|replay| !replay.is_nothing());
        let held = self.held.get_or_insert_default();
        held.left.retain(|left| *left != number);
        if held.by_number.contains_key(&number) {
            self.say(out, &Message::Subscribed(Subscribed { request, subscription: wire_id(number) }));
            self.replays.extend(replay);
            return None;
        }
        let before = held.route(&filter);
        held.by_number.insert(number, filter.clone());
        // A snapshot is given nothing live.
        if !reading.snapshot {
            held.by_filter.entry(filter.clone()).or_default().push(number);
        }
        let route = held.route(&filter);
        held.replace(before);
        let needs_retained = replay.as_ref().is_some_and(Replay::has_retained);
        let list = if reading.snapshot { Vec::new() } else { vec![(filter, options_of(route))] };
        let (broker, realm) = (self.publisher.broker.clone(), self.publisher.realm.clone());
        let session = self.publisher.session.clone();
        self.subscribing = true;
        Some(Flow::Work(Box::pin(async move {
            let done = broker.topics().subscribe(&realm, &session, &list).await.is_ok()
                && broker.met_everywhere(&session).await
                && (!needs_retained || broker.retained_is_current().await);
            Box::new(match done {
                true => Answer::Subscribed { request, number, replay, is_first },
                false => Answer::Failed { kind: MessageType::Subscribe, request, number },
            }) as Work
        })))
    }

    /// What is asked for, if it may be had.
    fn wanted(&self, pattern: &Pattern, options: &SubscribeOptions<'_>) -> Result<Wanted, (Reason, String)> {
        let invalid = |why: String| (Reason::ConditionInvalid, why);
        self.may_subscribe(pattern)?;
        let reading = reading::of(options).map_err(|error| invalid(error.to_string()))?;
        let filter = reading.selector().on(pattern.filter());
        let filter = filter.map_err(|_| invalid("filter: it is too long".to_owned()))?;
        let Publisher { broker, realm, .. } = &self.publisher;
        let filtered =
            |held: &Held| held.by_number.values().filter(|filter| Selector::has_condition(filter)).count();
        let max = broker.config().filtered_subscriptions_max;
        let is_too_many =
            reading.filter.is_some() && max > 0 && self.held.as_deref().map_or(0, filtered) >= max;
        if is_too_many {
            return Err((Reason::Quota, format!("filter: {max} subscriptions have one already")));
        }
        let past = match reading.after {
            None => None,
            Some(after) => {
                let stream = broker.history_of(&realm.name, pattern.filter());
                let stream = stream.ok_or_else(|| invalid(ReadingError::NoHistory.to_string()))?;
                Some(Past::new(broker, stream, &filter, Some(after)))
            }
        };
        let manner = Manner { selector: filter.selector().map(Arc::from), own: 0 };
        let is_own = past.is_some() || reading.snapshot;
        Ok(Wanted { filter, manner: if is_own { manner.own() } else { manner }, past, reading })
    }

    fn may_subscribe(&self, pattern: &Pattern) -> Result<(), (Reason, String)> {
        let filter = pattern.filter();
        let config = self.publisher.broker.config();
        if filter.selector().is_some() {
            return Err((Reason::FilterInvalid, "uris below $where are the router's".to_owned()));
        }
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
        held.replace(before);
        let waiting =
            held.catching.iter().find(|catching| catching.number == number).map_or(0, Catching::waiting);
        held.catching.retain(|catching| catching.number != number);
        held.left.push_back(number);
        if held.left.len() > LEFT_MAX {
            held.left.pop_front();
        }
        let client = self.publisher.session.client_id();
        self.publisher.broker.ledger().lost_by(client, "", Loss::Offline, waiting);
        Some((filter, route))
    }

    /// The routes have it, or have it no more: answer.
    pub fn subscribed(&mut self, work: Work, out: &mut Vec<u8>) -> Flow {
        let Ok(answer) = work.downcast::<Answer>() else {
            return self.abort(reason::uri(Reason::Internal, false), Reason::Internal, "", out);
        };
        self.subscribing = false;
        match *answer {
            Answer::Subscribed { request, number, replay, is_first } => {
                let subscription = wire_id(number);
                self.say(out, &Message::Subscribed(Subscribed { request, subscription }));
                if replay.as_ref().is_some_and(Replay::holds_live) {
                    self.held.get_or_insert_default().catching.push(Catching::new(number));
                }
                self.replays.extend(replay);
                let told = [meta::Event::Created { number }, meta::Event::Subscribed { number }];
                self.tell(if is_first { &told } else { &told[1..] });
            }
            Answer::Unsubscribed { request, number } => {
                self.say(out, &Message::Unsubscribed(Unsubscribed { request: Some(request), revoked: None }));
                self.left(number);
            }
            Answer::Failed { kind, request, number } => {
                if kind == MessageType::Subscribe && self.give_up(number).is_some() {
                    subscriptions::leave(number, self.id.get());
                }
                let uri = reason::uri(Reason::Unavailable, false);
                self.refuse(out, (kind, request), uri, "");
            }
        }
        Flow::Continue
    }

    fn left(&mut self, number: u32) {
        let last = subscriptions::leave(number, self.id.get());
        let mut told = vec![meta::Event::Unsubscribed { number }];
        told.extend(last.map(|entry| meta::Event::Deleted { number, entry }));
        self.tell(&told);
    }

    /// The session is over.
    pub fn forget_subscriptions(&mut self) {
        let Some(held) = self.held.take() else { return };
        let waiting = held.catching.iter().map(Catching::waiting).sum();
        let client = self.publisher.session.client_id();
        self.publisher.broker.ledger().lost_by(client, "", Loss::ConnectionLost, waiting);
        for filter in held.by_filter.keys() {
            let route = held.route(filter);
            route.into_iter().chain(route).for_each(subscriptions::release);
        }
        held.replaced.iter().copied().for_each(subscriptions::release);
        held.by_number.keys().for_each(|number| self.left(*number));
    }

    /// The router ends a subscription (WAMP, "Router-initiated Unsubscribe").
    pub(super) fn revoke(&mut self, number: u32, reason: &str, out: &mut Vec<u8>) {
        let Some((filter, route)) = self.give_up(number) else { return };
        let reason = Some(reason.into()).filter(|_| !reason.is_empty());
        let revoked = Some(SubscriptionRevoked { subscription: Some(wire_id(number)), reason });
        self.say(out, &Message::Unsubscribed(Unsubscribed { request: None, revoked }));
        self.left(number);
        let (broker, realm) = (self.publisher.broker.clone(), self.publisher.realm.clone());
        let session = self.publisher.session.clone();
        if !session.has(&filter) {
            return;
        }
        tokio::spawn(async move {
            match route {
                Some(route) => {
                    let list = [(filter, options_of(Some(route)))];
                    broker.topics().subscribe(&realm, &session, &list).await
                }
                None => broker.topics().unsubscribe(&realm, &session, [filter]).await,
            }
        });
    }

    /// An event of the record is about to be given to a subscription; false: it was already.
    pub(super) fn read_in_record(&mut self, number: u32, publication: u64) -> bool {
        let catching = self.held.as_mut().map(|held| &mut held.catching);
        let mut catching = catching.into_iter().flatten();
        catching.find(|known| known.number == number).is_none_or(|known| known.read(publication))
    }

    /// The record is at its end: what has waited is given. False: it is to be read on.
    pub(super) fn catch_up(&mut self, number: u32, out: &mut Vec<u8>) -> bool {
        let catching = self.held.as_mut().map(|held| &mut held.catching);
        let Some(catching) = catching.into_iter().flatten().find(|known| known.number == number) else {
            return true;
        };
        let Some((given, replayed)) = catching.catch_up(clock::now_ms()) else { return false };
        given.iter().for_each(|frame| {
            out.extend_from_slice(frame);
            self.publisher.tally.deliver(frame.len(), false);
        });
        let client = self.publisher.session.client_id();
        self.publisher.broker.ledger().lost_by(client, "", Loss::Replayed, replayed);
        true
    }

    /// Whether waiting events must be looked at: some may be of subscriptions that were given up, or that are not to have
    /// them yet.
    pub fn has_left(&self) -> bool {
        self.held.as_ref().is_some_and(|held| !held.left.is_empty() || !held.catching.is_empty())
    }

    /// Waiting events without those of subscriptions that were given up meanwhile, and those the client does not take.
    pub fn wanted_frames(&mut self, chunks: VecDeque<Chunk>) -> VecDeque<Chunk> {
        let form = self.publisher.broker.form(self.publisher.session.form());
        let now_ms = clock::now_ms();
        if let Some(held) = &mut self.held {
            held.catching.retain(|catching| !catching.is_over(now_ms));
        }
        let (mut frames, mut left_out, mut too_large) = (Vec::new(), 0, 0);
        let (mut waits, mut replayed, mut lost) = (0, 0, 0);
        for chunk in &chunks {
            let mut rest = chunk.bytes();
            while !rest.is_empty() {
                let (frame, behind) = rest.split_at(form.frame_len(rest));
                rest = behind;
                let (number, publication) = form.event_of(frame).unwrap_or_default();
                let has_left = |held: &Held| held.left.iter().any(|left| u64::from(*left) == number);
                if frame.len() - 4 > self.peer_bytes_max {
                    too_large += 1;
                    continue;
                }
                if self.held.as_ref().is_some_and(|held| has_left(held)) {
                    left_out += 1;
                    continue;
                }
                let catching = self.held.as_mut().map(|held| &mut held.catching);
                let catching = catching.into_iter().flatten().find(|known| u64::from(known.number) == number);
                match catching.map_or(Live::Given, |catching| catching.live(publication, frame)) {
                    Live::Given => frames.extend_from_slice(frame),
                    Live::Waits => waits += 1,
                    Live::Replayed => replayed += 1,
                    Live::Lost(count) => {
                        // Those before had been taken off the count.
                        lost += count;
                        waits += 1;
                    }
                }
            }
        }
        self.publisher.tally.delivered -= too_large + left_out + waits + replayed;
        let (ledger, client) = (self.publisher.broker.ledger(), self.publisher.session.client_id());
        ledger.lost_by(client, "", Loss::TooLarge, too_large);
        ledger.lost_by(client, "", Loss::Offline, left_out);
        ledger.lost_by(client, "", Loss::Replayed, replayed);
        ledger.lost_by(client, "", Loss::OutboxFull, lost);
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
