//! Streams that a client reads: what a subscription to `$stream/<name>` brings.
//!
//! Records come on the topic they were published to, with user properties that tell their place. They have packet ids of
//! their own beside those of the window, and share its room; who answers slowly is sent less, and nothing is dropped.

mod ids;
pub mod offset;

use std::sync::Arc;
use std::task::Context;

use metrics::counter;
use weir_broker::ledger::Loss;
use weir_broker::publish::Publisher;
use weir_broker::store::{Fence, Record, SessionOp, Step, SubscriptionOptions};
use weir_broker::stream::definition::check_name;
use weir_broker::stream::following::{Ended, Following, Found, Offset, session_group};
use weir_broker::stream::{FILTER_PREFIX, Stream, history};
use weir_broker::sync::{After, ReadingError, Selector, Subject};
use weir_broker::{Broker, Session, clock};
use weir_model::{Filter, Message, Qos, Reason};
use weir_wire::mqtt::{self, List, MessageProperties, ReasonCode, Version, encode};

use super::channel::Mqtt;
use crate::connection::Channel;
use ids::Ids;

/// Records handed on in one turn, also those that make no bytes: others on this thread have their turn.
const TURN_RECORDS: usize = 1000;

/// Where the end of a history is told, which no filter names.
const PAST_TOPIC: &str = "$stream/$history";

/// User properties that only the broker sets on a record.
const OURS: [&str; 4] = ["weir-stream", "weir-position", "weir-partition", "weir-missed"];

/// The streams one connection reads. Bounded by the session's subscriptions; each holds a page at most.
pub struct Streams {
    followed: Vec<Followed>,
    /// Over already, which the client has not been told.
    ended: Vec<(Filter, SubscriptionOptions, Ended)>,
    ids: Ids,
    /// Which of them is served first.
    turn: usize,
    access_version: u64,
}

struct Followed {
    filter: Filter,
    /// Of a history: only what the filter matches.
    is_past: bool,
    /// Only what it takes.
    selector: Option<Selector>,
    options: SubscriptionOptions,
    following: Following,
    /// Let go before they could be sent, and not told yet.
    missed: u64,
}

impl Followed {
    fn new(filter: Filter, options: SubscriptionOptions, following: Following) -> Followed {
        let selector = Selector::of(&filter).and_then(Result::ok);
        let selector = selector.map(|selector| Selector { unrecorded: false, ..selector });
        Followed { is_past: !is_stream(&filter), filter, selector, options, following, missed: 0 }
    }

    fn takes(&self, message: &Message) -> bool {
        (!self.is_past || self.filter.matches(&message.topic))
            && self.selector.as_ref().is_none_or(|selector| selector.takes(&Subject::of(message)))
    }
}

/// What a filter below `$stream/` asks for.
pub enum Wish {
    /// To begin.
    Begin(Arc<Stream>, Offset),
    /// It is read already: with other options from now on.
    GoOn,
    /// To begin in the history of the realm, behind this.
    Past(Arc<Stream>, After),
}

/// Why a filter is refused for what is asked of it, in words for whoever wrote it.
pub struct Refused {
    pub code: ReasonCode,
    pub reason: Reason,
    pub why: String,
}

impl Refused {
    /// A user property asks for what cannot be.
    pub fn reading(why: String) -> Refused {
        Refused { code: ReasonCode::ImplementationSpecificError, reason: Reason::ConditionInvalid, why }
    }
}

/// Whether a filter asks for a stream.
pub fn is_stream(filter: &Filter) -> bool {
    filter.pattern().starts_with(FILTER_PREFIX)
}

impl Mqtt {
    /// What a filter asks for that [`is_stream`].
    pub fn wish(&self, filter: &Filter, subscribe: &mqtt::Subscribe<'_>) -> Result<Wish, Refused> {
        let refused = |code, reason, why: String| Refused { code, reason, why };
        if filter.share().is_some() {
            let why = "a stream is read by each client on its own here, not by a share group";
            let code = ReasonCode::SharedSubscriptionsNotSupported;
            return Err(refused(code, Reason::SharedNotAllowed, why.into()));
        }
        let invalid = |why| refused(ReasonCode::TopicFilterInvalid, Reason::FilterInvalid, why);
        let name = &filter.pattern()[FILTER_PREFIX.len()..];
        check_name(name).map_err(|error| invalid(format!("no name of a stream: {error}")))?;
        let Publisher { broker, realm, .. } = &self.publisher;
        let stream = broker.streams().get(&realm.name, name);
        let stream = stream.ok_or_else(|| invalid(format!("there is no stream {name:?}")))?;
        let offset = offset::read(subscribe.user.iter()).map_err(|error| {
            refused(ReasonCode::ImplementationSpecificError, Reason::Malformed, error.to_string())
        })?;
        Ok(match offset {
            None if self.follows(filter) => Wish::GoOn,
            offset => Wish::Begin(stream, offset.unwrap_or_default()),
        })
    }

    /// What is recorded behind a place, for a session that ends with its connection: a kept one has its queue.
    pub fn past(&self, after: After) -> Result<Wish, Refused> {
        if self.stored_fence().is_some() {
            return Err(Refused::reading(
                "weir-after is for sessions that end with their connection".to_owned(),
            ));
        }
        let Publisher { broker, realm, .. } = &self.publisher;
        let history = broker.streams().get(&realm.name, history::NAME);
        let none = || Refused::reading(ReadingError::NoHistory.to_string());
        history.map(|history| Wish::Past(history, after)).ok_or_else(none)
    }

    fn streams(&self) -> Option<&Streams> {
        self.owed.as_ref()?.streams.as_deref()
    }

    fn follows(&self, filter: &Filter) -> bool {
        self.streams().is_some_and(|streams| streams.followed.iter().any(|f| f.filter == *filter))
    }

    /// Room in the window beside what records of streams take of it.
    pub fn window_room(&self) -> usize {
        let room = self.window.room();
        self.streams().map_or(room, |streams| streams.ids.room_beside(&self.window, room))
    }

    /// Whether a packet id is a record's.
    pub fn is_records(&self, packet_id: u16) -> bool {
        self.streams().is_some_and(|streams| streams.ids.has(packet_id))
    }

    /// A subscription was made: from now on its stream is read. `None`: it is read already.
    pub fn follow(&mut self, filter: Filter, options: SubscriptionOptions, following: Option<Following>) {
        let access_version = self.publisher.broker.access().version();
        let streams = &mut self.owed.get_or_insert_default().streams;
        let streams = streams.get_or_insert_with(|| Streams::new(access_version));
        let at = streams.followed.iter().position(|followed| followed.filter == filter);
        match (at, following) {
            (Some(at), None) => streams.followed[at].options = options,
            (Some(at), Some(following)) => {
                streams.followed[at] = Followed::new(filter, options, following);
            }
            (None, Some(following)) => {
                streams.followed.push(Followed::new(filter, options, following));
            }
            (None, None) => {}
        }
    }

    /// A stream is about to be read from another place: what was read until now is given back first.
    pub fn let_go(&mut self, filter: &Filter) {
        if let Some(streams) = self.owed.as_mut().and_then(|owed| owed.streams.as_mut()) {
            streams.followed.retain(|followed| followed.filter != *filter);
        }
    }

    /// A subscription has ended: its stream is read no more, and its place is forgotten.
    pub fn unfollow(&mut self, filter: &Filter) {
        let Some(streams) = self.owed.as_mut().and_then(|owed| owed.streams.as_mut()) else { return };
        if let Some(at) = streams.followed.iter().position(|followed| followed.filter == *filter) {
            streams.followed.remove(at).following.forget();
        }
    }

    /// Goes on with the streams that a kept session reads, each where it was.
    pub fn follow_again(&mut self) {
        let Some(fence) = self.stored_fence() else { return };
        let Publisher { broker, realm, session, .. } = &self.publisher;
        if session.selects() {
            self.owed.get_or_insert_default().selects = true;
        }
        let subscriptions = session.subscriptions_below(FILTER_PREFIX);
        if subscriptions.is_empty() {
            return;
        }
        let group = session_group(session.client_id(), fence.generation);
        let mut streams = Streams::new(broker.access().version());
        for (filter, options) in subscriptions {
            let name = &filter.pattern()[FILTER_PREFIX.len()..];
            if check_name(name).is_err() {
                continue;
            }
            match broker.streams().get(&realm.name, name) {
                _ if self.publisher.subscribe_right(&filter).is_none() => {
                    streams.ended.push((filter, options, Ended::Denied));
                }
                Some(stream) => {
                    let following = Following::resume(broker, stream, group.clone());
                    streams.followed.push(Followed::new(filter, options, following));
                }
                None => streams.ended.push((filter, options, Ended::Deleted)),
            }
        }
        self.owed.get_or_insert_default().streams = Some(streams);
    }

    /// The connection ends. `for_good`: its session too, and nobody comes back to where it was.
    pub fn leave_streams(&mut self, for_good: bool) {
        let Some(streams) = self.owed.as_mut().and_then(|owed| owed.streams.take()) else { return };
        if for_good {
            streams.followed.into_iter().for_each(|followed| followed.following.forget());
        }
    }

    /// PUBACK for a record.
    pub fn record_answered(&mut self, packet_id: u16) {
        let Some(streams) = self.owed.as_mut().and_then(|owed| owed.streams.as_mut()) else { return };
        if streams.ids.free(packet_id) {
            // One that was sent for a subscription that has ended is nobody's.
            let _ = streams.followed.iter_mut().any(|followed| followed.following.answered(packet_id));
        }
    }

    /// Sends records as far as the client takes them.
    pub fn send_records(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) {
        let Some(mut streams) = self.owed.as_mut().and_then(|owed| owed.streams.take()) else { return };
        self.judge_streams(&mut streams);
        self.tell_ends(&mut streams, out);
        let count = streams.followed.len();
        streams.turn = streams.turn.wrapping_add(1);
        for index in 0..count {
            let at = (streams.turn + index) % count;
            if let Err(ended) = self.send_records_of(&mut streams, at, cx, out) {
                let Followed { filter, options, .. } = &streams.followed[at];
                streams.ended.push((filter.clone(), *options, ended));
            }
        }
        self.tell_ends(&mut streams, out);
        if !streams.followed.is_empty() || !streams.ids.is_empty() {
            self.owed.get_or_insert_default().streams = Some(streams);
        }
    }

    fn send_records_of(
        &mut self,
        streams: &mut Streams,
        at: usize,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Ended> {
        let bytes_max = self.config().answer_bytes_max / 2;
        let mut left = TURN_RECORDS;
        loop {
            streams.followed[at].following.poll(cx)?;
            let before = left;
            while left > 0 && out.len() < bytes_max && self.record_room(streams, at) > 0 {
                let Some(found) = streams.followed[at].following.take_next() else { break };
                self.send_record(streams, at, found, out);
                left -= 1;
            }
            if left == 0 {
                cx.waker().wake_by_ref();
            }
            if left == 0 || left == before || out.len() >= bytes_max {
                return Ok(());
            }
        }
    }

    /// How many records may be sent now. At QoS 1 they take half of the window at most, and the session's own queue
    /// comes first.
    fn record_room(&mut self, streams: &Streams, at: usize) -> usize {
        let by_pace = match &mut self.pace {
            Some(pace) => {
                pace.delivered(self.publisher.tally.sent());
                pace.most().messages
            }
            None => usize::MAX,
        };
        if streams.followed[at].options.qos == Qos::AtMostOnce {
            return by_pace;
        }
        let in_flight = streams.ids.len();
        let share = (self.window.max() / 2).max(1).saturating_sub(in_flight);
        let queue = usize::from(self.behind || self.loading.is_some());
        self.window.room().saturating_sub(in_flight + queue).min(share).min(by_pace)
    }

    fn send_record(&mut self, streams: &mut Streams, at: usize, found: Found, out: &mut Vec<u8>) {
        let followed = &mut streams.followed[at];
        followed.missed += found.missed;
        if !followed.takes(&found.record.message) {
            return followed.following.sent(found.at, None);
        }
        let Followed { options, following, missed, .. } = followed;
        let message = &found.record.message;
        self.publisher.tally.matched += 1;
        let Publisher { broker, principal, session, .. } = &self.publisher;
        let loss = if !broker.access().may_receive(principal, &message.topic) {
            Some(Loss::Denied)
        } else if message.is_expired(clock::unix()) {
            Some(Loss::Expired)
        } else {
            None
        };
        let passed = match loss {
            Some(loss) => Err(loss),
            None => self.publisher.on_deliver(message).map_err(|_| Loss::Middleware),
        };
        let found = match passed {
            Ok(None) => found,
            Ok(Some(message)) => Found { record: Record { message, ..found.record }, ..found },
            Err(loss) => {
                broker.ledger().lost_by(session.client_id(), &message.topic, loss, 1);
                return following.sent(found.at, None);
            }
        };
        let message = &found.record.message;
        let packet_id = (options.qos > Qos::AtMostOnce).then(|| streams.ids.next(&self.window));
        let start = out.len();
        encode_record(out, following.stream(), &found, *missed, options, packet_id, self.version);
        let len = out.len() - start;
        if len > self.frame_bytes_max {
            out.truncate(start);
            broker.ledger().lost_by(session.client_id(), &message.topic, Loss::TooLarge, 1);
            return following.sent(found.at, None);
        }
        *missed = 0;
        following.sent(found.at, packet_id);
        if let Some(packet_id) = packet_id {
            streams.ids.take(packet_id);
        }
        self.publisher.tally.deliver(len, false);
    }

    /// Its rights may have changed since a subscription was let in.
    fn judge_streams(&self, streams: &mut Streams) {
        let version = self.publisher.broker.access().version();
        if std::mem::replace(&mut streams.access_version, version) == version {
            return;
        }
        for followed in &streams.followed {
            if self.publisher.subscribe_right(&followed.filter).is_none() {
                streams.ended.push((followed.filter.clone(), followed.options, Ended::Denied));
            }
        }
    }

    fn tell_ends(&mut self, streams: &mut Streams, out: &mut Vec<u8>) {
        for (filter, options, ended) in std::mem::take(&mut streams.ended) {
            if let Some(at) = streams.followed.iter().position(|followed| followed.filter == filter) {
                streams.followed.remove(at).following.forget();
            }
            self.tell_end(&filter, &options, ended, out);
        }
    }

    /// Tells the client that nothing more comes of a subscription, which is taken back.
    fn tell_end(&mut self, filter: &Filter, options: &SubscriptionOptions, ended: Ended, out: &mut Vec<u8>) {
        counter!("weir_gateway_stream_reads_ended_total", "reason" => ended.as_str()).increment(1);
        tracing::debug!(client_id = %self.session().client_id(), %filter, %ended, "a stream is read no more");
        let topic = if is_stream(filter) { filter.pattern() } else { PAST_TOPIC };
        let user = [("weir-stream", &topic[FILTER_PREFIX.len()..]), ("weir-stream-end", ended.as_str())];
        let packet = mqtt::Publish {
            subscription_ids: List::of(options.subscription_id.as_slice()),
            properties: MessageProperties { user: List::of(&user), ..MessageProperties::default() },
            ..mqtt::Publish::new(topic, b"")
        };
        let start = out.len();
        encode::publish(out, &packet, self.version);
        self.publisher.tally.matched += 1;
        self.publisher.tally.deliver(out.len() - start, false);
        let Publisher { broker, realm, session, .. } = &self.publisher;
        let taking_back =
            take_back(broker.clone(), realm.clone(), session.clone(), self.stored_fence(), filter.clone());
        tokio::spawn(taking_back);
    }
}

impl Streams {
    fn new(access_version: u64) -> Box<Streams> {
        let (followed, ended) = (Vec::new(), Vec::new());
        Box::new(Streams { followed, ended, ids: Ids::default(), turn: 0, access_version })
    }
}

/// Begins to read what was wished; `None` = the store is away.
pub async fn begin(
    broker: &Broker,
    session: &Session,
    fence: Option<Fence>,
    stream: Arc<Stream>,
    offset: Offset,
) -> Option<Following> {
    let group = fence.map(|fence| session_group(session.client_id(), fence.generation));
    Following::begin(broker, stream, group, offset).await.ok()
}

/// Ends a subscription on the broker's side.
async fn take_back(
    broker: Broker,
    realm: Arc<weir_broker::Realm>,
    session: Arc<Session>,
    fence: Option<Fence>,
    filter: Filter,
) {
    if let Some(fence) = fence {
        let ops = [SessionOp::Unsubscribe { fence, filter: filter.clone() }].into_iter().collect();
        broker.submit(vec![Step::Session { key: session.key.clone(), ops }]).await;
    }
    let _ = broker.topics().unsubscribe(&realm, &session, [filter]).await;
}

/// A record as it was published, and where it stands.
fn encode_record(
    out: &mut Vec<u8>,
    stream: &Stream,
    found: &Found,
    missed: u64,
    options: &SubscriptionOptions,
    packet_id: Option<u16>,
    version: Version,
) {
    let message: &Message = &found.record.message;
    let properties = message.properties.as_deref();
    let numbers = (found.at.mark.position.to_string(), found.at.partition.to_string(), missed.to_string());
    let theirs = properties.map_or(&[][..], |properties| &properties.user).iter();
    let mut user: Vec<(&str, &str)> = theirs.map(|(name, value)| (&**name, &**value)).collect();
    user.retain(|(name, text)| !OURS.contains(name) && super::form::is_shown(name, text));
    let ours = [&*stream.name, &numbers.0, &numbers.1, &numbers.2];
    user.extend(OURS.into_iter().zip(ours).take(if missed > 0 { 4 } else { 3 }));
    let packet = mqtt::Publish {
        qos: options.qos,
        packet_id: packet_id.and_then(std::num::NonZeroU16::new),
        subscription_ids: List::of(options.subscription_id.as_slice()),
        properties: MessageProperties {
            payload_is_utf8: properties.is_some_and(|properties| properties.payload_is_utf8),
            expiry_seconds: weir_broker::fanout::seconds_left(message),
            content_type: properties.and_then(|properties| properties.content_type.as_deref()),
            response_topic: properties.and_then(|properties| properties.response_topic.as_deref()),
            correlation_data: properties.and_then(|properties| properties.correlation_data.as_deref()),
            user: List::of(&user),
        },
        ..mqtt::Publish::new(&message.topic, &message.payload)
    };
    encode::publish(out, &packet, version);
}
