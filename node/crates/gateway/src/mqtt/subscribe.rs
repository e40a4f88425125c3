//! SUBSCRIBE and UNSUBSCRIBE, and the retained messages that answer a new subscription.

use std::collections::HashSet;
use std::sync::Arc;
use std::task::Context;

use metrics::counter;
use weir_broker::access::RefusedSubscribe::Close;
use weir_broker::clock;
use weir_broker::ledger::Loss;
use weir_broker::outbox::Live;
use weir_broker::publish::{Commit, Publisher};
use weir_broker::retained::PageMax;
use weir_broker::store::{Delivery, Fence, SessionOp, Step, SubscriptionOptions};
use weir_broker::stream::following::{Following, Offset};
use weir_broker::sync::{Reading, Selector, Subject};
use weir_model::{Filter, Message, Qos, Reason, Topic};
use weir_wire::mqtt::{self, List, ReasonCode, RetainHandling, Suback, Version, encode};

use super::channel::Mqtt;
use super::form;
use super::reading;
use super::stream::{self, Refused, Wish};
use crate::connection::{Channel, Flow, Work};

/// Retained messages still owed to one subscription.
pub struct Replay {
    filter: Filter,
    selector: Option<Selector>,
    options: SubscriptionOptions,
    after: Option<Topic>,
}

/// What SUBSCRIBE or UNSUBSCRIBE came to.
enum Answer {
    Subscribed {
        packet_id: std::num::NonZeroU16,
        codes: Vec<ReasonCode>,
        /// Said to a client of MQTT 5 that wants to hear it.
        why: Option<String>,
        replays: Vec<Replay>,
        /// `None`: it is read already.
        streams: Vec<(Filter, SubscriptionOptions, Option<Following>)>,
    },
    Unsubscribed {
        packet_id: std::num::NonZeroU16,
        codes: Vec<ReasonCode>,
        left: Vec<Filter>,
    },
}

/// One filter of a SUBSCRIBE that was let in.
struct Wanted {
    filter: Filter,
    options: SubscriptionOptions,
    /// Its place among the codes.
    place: usize,
    retained: bool,
    /// What it wants of a stream, if it names one or begins in the past.
    wish: Option<Wish>,
    /// Other subscriptions of the pattern that it takes the place of.
    replaced: Vec<Filter>,
}

/// What a SUBSCRIBE asks for, each filter judged.
#[derive(Default)]
struct Judged {
    codes: Vec<ReasonCode>,
    wanted: Vec<Wanted>,
    why: Option<String>,
}

impl Judged {
    fn grant(&mut self, wanted: Wanted) {
        self.codes.push(granted(wanted.options.qos));
        self.wanted.push(Wanted { place: self.codes.len() - 1, ..wanted });
    }

    fn refuse(&mut self, reason: Reason, code: ReasonCode, why: Option<String>) {
        counter!("weir_gateway_subscriptions_refused_total", "reason" => reason.as_str()).increment(1);
        self.codes.push(code);
        self.why = self.why.take().or(why);
    }
}

impl Mqtt {
    pub fn subscribe(&mut self, subscribe: &mqtt::Subscribe<'_>, out: &mut Vec<u8>) -> Flow {
        let judged = match self.judge_all(subscribe) {
            Ok(judged) => judged,
            Err((reason, what)) => return self.end(reason, what, out),
        };
        let begins = |wanted: &&Wanted| matches!(wanted.wish, Some(Wish::Begin(..) | Wish::Past(..)));
        judged.wanted.iter().filter(begins).for_each(|wanted| self.let_go(&wanted.filter));
        judged.wanted.iter().flat_map(|wanted| &wanted.replaced).for_each(|filter| self.unfollow(filter));
        if judged.wanted.iter().any(|wanted| wanted.filter.selector().is_some()) {
            self.owed.get_or_insert_default().selects = true;
        }
        let packet_id = subscribe.packet_id;
        let (broker, realm) = (self.publisher.broker.clone(), self.publisher.realm.clone());
        let (session, fence) = (self.session().clone(), self.stored_fence());
        Flow::Work(Box::pin(async move {
            let Judged { mut codes, mut wanted, why } = judged;
            let streams = match store_all(&broker, &realm, &session, fence, &mut wanted).await {
                Some(streams) => streams,
                None => {
                    let filters = wanted.iter().map(|wanted| wanted.filter.clone());
                    let _ = broker.topics().unsubscribe(&realm, &session, filters).await;
                    wanted.iter().for_each(|w| codes[w.place] = ReasonCode::UnspecifiedError);
                    wanted.clear();
                    Vec::new()
                }
            };
            broker.collect_shared(&realm, &session);
            let replay = |w: Wanted| {
                let selector = Selector::of(&w.filter).and_then(Result::ok);
                // What is retained is no event of the history.
                let selector = selector.map(|selector| Selector { unrecorded: false, ..selector });
                Replay { filter: w.filter, selector, options: w.options, after: None }
            };
            let replays = wanted.into_iter().filter(|w| w.retained).map(replay).collect();
            Box::new(Answer::Subscribed { packet_id, codes, why, replays, streams }) as Work
        }))
    }

    /// Judges each filter; with a reason the connection ends.
    fn judge_all(&self, subscribe: &mqtt::Subscribe<'_>) -> Result<Judged, (Reason, &'static str)> {
        let mut judged = Judged::default();
        let reading = reading::of(subscribe.user.iter());
        for (text, options) in subscribe.filters.iter() {
            let mut why = None;
            let wanted = self.judge(text, &options, subscribe.subscription_id, judged.wanted.len());
            let wanted = wanted.and_then(|wanted| match self.publisher.may_subscribe(&wanted.0) {
                Ok(()) => Ok(wanted),
                Err(refusal) => {
                    why = Some(refusal.why.to_string());
                    Err(refusal.reason)
                }
            });
            match wanted {
                Ok((filter, options, retained)) => {
                    match self.wanted(filter, options, retained, (subscribe, &reading)) {
                        Ok(wanted) => judged.grant(wanted),
                        Err(refused) => judged.refuse(refused.reason, refused.code, Some(refused.why)),
                    }
                }
                Err(Reason::Protocol) => {
                    return Err((Reason::Protocol, "no-local on a shared subscription"));
                }
                Err(reason) => {
                    if reason == Reason::NotAuthorized {
                        self.note_refused_subscription(text);
                        if self.publisher.broker.access().refused_subscribe() == Close {
                            return Err((reason, "not authorized to subscribe"));
                        }
                    }
                    judged.refuse(reason, super::reason::code(reason), why);
                }
            }
        }
        Ok(judged)
    }

    /// What is asked of one filter that was let in, beside what every subscription is given.
    fn wanted(
        &self,
        plain: Filter,
        options: SubscriptionOptions,
        retained: bool,
        (subscribe, reading): (&mqtt::Subscribe<'_>, &Result<Reading, reading::Broken>),
    ) -> Result<Wanted, Refused> {
        let reading = reading.as_ref().map_err(|broken| Refused::reading(broken.to_string()))?;
        let mut selector = reading.selector();
        let is_plain = selector.is_empty() && reading.after.is_none();
        if !is_plain && plain.share().is_some() {
            return Err(Refused::reading(
                "a shared subscription has neither weir-filter nor weir-after".to_owned(),
            ));
        }
        let max = self.publisher.broker.config().filtered_subscriptions_max;
        if reading.filter.is_some() && max > 0 && self.session().filtered_subscriptions() >= max {
            let why = format!("{}: {max} subscriptions have one already", reading::FILTER);
            return Err(Refused { code: ReasonCode::QuotaExceeded, reason: Reason::Quota, why });
        }
        let wish = match reading.after {
            _ if stream::is_stream(&plain) => Some(self.wish(&plain, subscribe)?),
            Some(after) => {
                selector.unrecorded = true;
                Some(self.past(after)?)
            }
            None => None,
        };
        let filter = selector.on(&plain);
        let filter = filter.map_err(|_| Refused::reading(format!("{}: it is too long", reading::FILTER)))?;
        let mut replaced = Vec::new();
        if filter.share().is_none() && (!is_plain || self.owed.as_ref().is_some_and(|owed| owed.selects)) {
            replaced = self.session().subscriptions_of(filter.pattern());
            replaced.retain(|known| *known != filter);
        }
        // Records are sent anew after a loss: never exactly once.
        let qos_max = if wish.is_some() { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
        let options = SubscriptionOptions { qos: options.qos.min(qos_max), ..options };
        let retained = retained && !stream::is_stream(&filter);
        Ok(Wanted { filter, options, place: 0, retained, wish, replaced })
    }

    /// Whether one filter may be subscribed to, and what is then stored; `retained`: whether its
    /// retained messages are to be sent (MQTT-3.3.1-9 to -11).
    fn judge(
        &self,
        text: &str,
        options: &mqtt::SubscribeOptions,
        subscription_id: Option<u32>,
        more: usize,
    ) -> Result<(Filter, SubscriptionOptions, bool), Reason> {
        let filter = Filter::new(text).map_err(|_| Reason::FilterInvalid)?;
        // That is not for clients to write.
        if filter.selector().is_some() {
            return Err(Reason::FilterInvalid);
        }
        if !self.publisher.broker.config().allows_depth(filter.pattern()) {
            return Err(Reason::FilterInvalid);
        }
        let shared = filter.share().is_some();
        if shared && options.no_local {
            return Err(Reason::Protocol);
        }
        let qos_max = self.publisher.subscribe_right(&filter).ok_or(Reason::NotAuthorized)?;
        let selects = self.owed.as_ref().is_some_and(|owed| owed.selects);
        let known = self.session().has(&filter)
            || (selects && !shared && !self.session().subscriptions_of(filter.pattern()).is_empty());
        let max = self.publisher.broker.config().subscriptions_max;
        if !known && self.session().subscription_count() + more >= max {
            return Err(Reason::Quota);
        }
        let retained = !shared
            && match options.retain_handling {
                RetainHandling::Send => true,
                RetainHandling::SendIfNew => !known,
                RetainHandling::DoNotSend => false,
            };
        let stored = SubscriptionOptions {
            qos: options.qos.min(qos_max),
            no_local: options.no_local || (self.bridge && !shared),
            retain_as_published: options.retain_as_published || self.bridge,
            subscription_id,
        };
        Ok((filter, stored, retained))
    }

    pub fn unsubscribe(&mut self, unsubscribe: &mqtt::Unsubscribe<'_>) -> Flow {
        let (mut codes, mut filters) = (Vec::new(), HashSet::new());
        for text in unsubscribe.filters.iter() {
            match Filter::new(text) {
                // As if each filter came in a packet of its own (MQTT-3.10.4-6).
                Ok(filter) => match self.subscribed_as(filter).filter(|filter| !filters.contains(filter)) {
                    Some(filter) => {
                        codes.push(ReasonCode::Success);
                        filters.insert(filter);
                    }
                    None => codes.push(ReasonCode::NoSubscriptionExisted),
                },
                Err(_) => codes.push(ReasonCode::TopicFilterInvalid),
            }
        }
        if let Some(owed) = &mut self.owed {
            owed.replays.retain(|replay| !filters.contains(&replay.filter));
        }
        let packet_id = unsubscribe.packet_id;
        let is_read = |filter: &&Filter| stream::is_stream(filter) || filter.selector().is_some();
        let mut left: Vec<_> = filters.iter().filter(is_read).cloned().collect();
        let (broker, realm) = (self.publisher.broker.clone(), self.publisher.realm.clone());
        let (session, fence) = (self.session().clone(), self.stored_fence());
        Flow::Work(Box::pin(async move {
            let mut failed = false;
            if let Some(fence) = fence.filter(|_| !filters.is_empty()) {
                let op = |filter: &Filter| SessionOp::Unsubscribe { fence, filter: filter.clone() };
                failed = !submit(&broker, &session, filters.iter().map(op).collect()).await;
            }
            if !failed {
                failed = broker.topics().unsubscribe(&realm, &session, filters).await.is_err();
            }
            if failed {
                left.clear();
                codes.iter_mut().for_each(|code| *code = ReasonCode::UnspecifiedError);
            }
            Box::new(Answer::Unsubscribed { packet_id, codes, left }) as Work
        }))
    }

    /// The subscription that a client means by a filter.
    fn subscribed_as(&self, filter: Filter) -> Option<Filter> {
        if self.session().has(&filter) {
            return Some(filter);
        }
        let selects = filter.share().is_none() && self.owed.as_ref().is_some_and(|owed| owed.selects);
        selects.then(|| self.session().subscriptions_of(filter.pattern()).into_iter().next()).flatten()
    }

    /// The routes and the store have it: answer, and owe the retained messages.
    pub fn subscribed(&mut self, work: Work, out: &mut Vec<u8>) -> Flow {
        match work.downcast::<Answer>().map(|answer| *answer) {
            Ok(Answer::Subscribed { packet_id, codes, why, replays, streams }) => {
                let codes: Vec<_> = codes.into_iter().map(|code| suback_code(code, self.version)).collect();
                let mut suback = Suback::new(packet_id, List::of(&codes));
                suback.reason = why.as_deref().filter(|_| self.wants_reasons);
                encode::suback(out, &suback, self.version);
                for (filter, options, following) in streams {
                    self.follow(filter, options, following);
                }
                if !replays.is_empty() {
                    self.owed.get_or_insert_default().replays.extend(replays);
                }
            }
            Ok(Answer::Unsubscribed { packet_id, codes, left }) => {
                left.iter().for_each(|filter| self.unfollow(filter));
                encode::unsuback(out, &Suback::new(packet_id, List::of(&codes)), self.version);
            }
            Err(_) => return self.end(Reason::Internal, "", out),
        }
        Flow::Continue
    }

    /// Sends the next page of retained messages once the one before is on its way.
    pub fn replay(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) {
        let bytes_max = self.config().answer_bytes_max / 2;
        while out.len() < bytes_max && !self.window_is_busy() {
            let room = self.send_room().max(1);
            let Some(owed) = &mut self.owed else { return };
            let Some(replay) = owed.replays.front_mut() else { return };
            let max = PageMax {
                messages: self.config.config.retained_page_messages.min(room),
                bytes: bytes_max,
                examined: 4096,
            };
            let retained = &self.publisher.realm.retained;
            let page = retained.page(&replay.filter, replay.after.as_ref(), clock::unix(), max);
            let (options, selector) = (replay.options, replay.selector.clone());
            match page.next {
                Some(next) => replay.after = Some(next),
                None => drop(owed.replays.pop_front()),
            }
            let more = !owed.replays.is_empty();
            let fence = self.stored_fence();
            let takes = |message: &Message| {
                selector.as_ref().is_none_or(|selector| selector.takes(&Subject::of(message)))
            };
            let allowed =
                page.messages.into_iter().filter(|message| takes(message) && self.may_be_shown(message));
            let deliveries = allowed.map(|message| retained_copy(message, &options)).collect::<Vec<_>>();
            self.send_retained(deliveries, fence, out);
            // One page at a time: others on this thread have their turn.
            cx.waker().wake_by_ref();
            if more {
                return;
            }
        }
    }

    /// Whether a retained message may be shown to this client: its filter was let in as a whole, and its
    /// rights may have changed since.
    fn may_be_shown(&self, message: &Message) -> bool {
        let Publisher { broker, principal, .. } = &self.publisher;
        let may = broker.access().may_receive(principal, &message.topic);
        if !may {
            broker.ledger().matched.add(1);
            broker.ledger().lost_by(self.publisher.session.client_id(), &message.topic, Loss::Denied, 1);
        }
        may
    }

    /// Whether numbered deliveries must be answered before more retained ones are sent.
    fn window_is_busy(&mut self) -> bool {
        self.send_room() == 0
            || self.loading.is_some()
            || self.owed.as_ref().is_some_and(|owed| owed.replaying.is_some())
            || (self.stored_fence().is_some() && self.behind)
    }

    fn send_retained(&mut self, deliveries: Vec<Delivery>, fence: Option<Fence>, out: &mut Vec<u8>) {
        let mut queued = Vec::new();
        for delivery in deliveries {
            if delivery.qos > Qos::AtMostOnce && fence.is_some() {
                queued.push(delivery);
                continue;
            }
            self.publisher.tally.matched += 1;
            if delivery.qos > Qos::AtMostOnce {
                self.send_live(Live { delivery, number: None, claim: None }, out);
            } else {
                self.send_plain(&delivery, out);
            }
        }
        if let Some(fence) = fence.filter(|_| !queued.is_empty()) {
            let session = self.session().clone();
            let commit = Commit::enqueue(&self.publisher.broker, &session, fence, queued);
            self.owed.get_or_insert_default().replaying = Some(commit);
        }
    }

    /// QoS 0: no number, no window.
    fn send_plain(&mut self, delivery: &Delivery, out: &mut Vec<u8>) {
        let start = out.len();
        let altered;
        let delivery = match self.publisher.on_deliver(&delivery.message) {
            Ok(None) => delivery,
            Ok(Some(message)) => {
                altered = Delivery { message, ..delivery.clone() };
                &altered
            }
            Err(_) => {
                let (ledger, client) = (self.publisher.broker.ledger(), self.publisher.session.client_id());
                return ledger.lost_by(client, &delivery.message.topic, Loss::Middleware, 1);
            }
        };
        form::encode_delivery(out, delivery, 0, false, self.version);
        if out.len() - start > self.frame_bytes_max {
            out.truncate(start);
            let (ledger, client) = (self.publisher.broker.ledger(), self.publisher.session.client_id());
            return ledger.lost_by(client, &delivery.message.topic, Loss::TooLarge, 1);
        }
        self.publisher.tally.deliver(out.len() - start, false);
    }
}

/// The code that grants a QoS.
fn granted(qos: Qos) -> ReasonCode {
    match qos {
        Qos::AtMostOnce => ReasonCode::Success,
        Qos::AtLeastOnce => ReasonCode::GrantedQos1,
        Qos::ExactlyOnce => ReasonCode::GrantedQos2,
    }
}

fn retained_copy(message: Arc<Message>, options: &SubscriptionOptions) -> Delivery {
    Delivery {
        qos: message.qos.min(options.qos),
        retain: true,
        subscription_ids: options.subscription_id.into_iter().collect(),
        group: None,
        message,
    }
}

/// What was read of streams by filters that were let in; `None` = one of the parts failed, and so all do.
type Begun = Option<Vec<(Filter, SubscriptionOptions, Option<Following>)>>;

/// Makes subscriptions known to this node, the store and the other nodes, and begins to read streams.
async fn store_all(
    broker: &weir_broker::Broker,
    realm: &Arc<weir_broker::Realm>,
    session: &Arc<weir_broker::Session>,
    fence: Option<Fence>,
    wanted: &mut [Wanted],
) -> Begun {
    let list: Vec<_> = wanted.iter().map(|w| (w.filter.clone(), w.options)).collect();
    broker.topics().subscribe(realm, session, &list).await.ok()?;
    if list.is_empty() {
        return Some(Vec::new());
    }
    if let Some(fence) = fence {
        let ops = list.iter().map(|(filter, options)| SessionOp::Subscribe {
            fence,
            filter: filter.clone(),
            options: *options,
        });
        submit(broker, session, ops.collect()).await.then_some(())?;
    }
    let replaced: Vec<Filter> = wanted.iter().flat_map(|wanted| &wanted.replaced).cloned().collect();
    if !replaced.is_empty() {
        if let Some(fence) = fence {
            let op = |filter: &Filter| SessionOp::Unsubscribe { fence, filter: filter.clone() };
            submit(broker, session, replaced.iter().map(op).collect()).await.then_some(())?;
        }
        broker.topics().unsubscribe(realm, session, replaced).await.ok()?;
    }
    broker.met_everywhere(session).await.then_some(())?;
    if wanted.iter().any(|w| w.retained) {
        broker.retained_is_current().await.then_some(())?;
    }
    let mut streams = Vec::new();
    for Wanted { filter, options, wish, .. } in wanted {
        let following = match wish.take() {
            Some(Wish::Begin(stream, offset)) => {
                Some(stream::begin(broker, session, fence, stream, offset).await?)
            }
            Some(Wish::Past(stream, after)) => {
                let start = broker.place_after(&stream, after).await.ok()?;
                let offset = Offset { start, after: Vec::new() };
                Some(stream::begin(broker, session, None, stream, offset).await?)
            }
            Some(Wish::GoOn) => None,
            None => continue,
        };
        streams.push((filter.clone(), *options, following));
    }
    Some(streams)
}

/// Submits ops of one session as one step; whether it was done.
async fn submit(
    broker: &weir_broker::Broker,
    session: &Arc<weir_broker::Session>,
    ops: Vec<SessionOp>,
) -> bool {
    let step = Step::Session { key: session.key.clone(), ops: ops.into() };
    matches!(broker.submit(vec![step]).await.first(), Some(Ok(_)))
}

/// Only MQTT 5 says how a subscription failed; 3.1.1 knows one code (MQTT-3.9.3-2).
fn suback_code(code: ReasonCode, version: Version) -> ReasonCode {
    match version {
        Version::V5 => code,
        _ if code.is_error() => ReasonCode::UnspecifiedError,
        _ => code,
    }
}
