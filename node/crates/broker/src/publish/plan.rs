//! A plan: what one message owes to the store, and who gets it once the store has it.

use std::sync::Arc;
use std::time::Duration;

use smallvec::{SmallVec, smallvec};
use weir_model::{Message, MessageId, Position, Qos, Reason, Topic, UnixMillis};
use weir_store::{Answer, Delivery, Enqueue, Level, Outcome, Refusal, SessionOp, Step, TopicOp};

use super::Verdict;
use super::settle::OnItsWay;
use super::shared::Asks;
use crate::broker::Broker;
use crate::fanout::{self, Frames};
use crate::ledger::{Enqueued, Loss};
use crate::outbox::{Claim, Live};
use crate::peers::Outgoing;
use crate::realm::Realm;
use crate::routes::{Matched, Target};
use crate::session::Session;
use crate::share::{Group, Wish};
use crate::stream::Stream;
use crate::stream::capture::{self, Again};

/// What stands before `<seconds>/<topic>` in the name of a delayed publish.
pub const DELAYED: &str = "$delayed/";

/// One copy and where it goes.
struct Copy {
    delivery: Delivery,
    to: To,
    /// The step that stores it, and after [`Plan::settle`] its number.
    step: Option<usize>,
    number: Option<u64>,
}

enum To {
    Session(Arc<Session>),
    /// A clean member of a group; the group's queue has the message if `step` is set.
    Member(Arc<Session>, Arc<Group>),
    /// Nobody is online: it lies in the group's queue.
    Queue(Arc<Group>),
}

impl To {
    /// The name of the queue that is, or would be, owed the copy.
    fn name(&self) -> &Arc<str> {
        match self {
            To::Session(session) => session.client_id(),
            To::Member(_, group) | To::Queue(group) => &group.key.name,
        }
    }
}

/// Which members of a share group may be picked.
#[derive(Clone, Copy)]
enum Reach<'a> {
    /// Whoever can be reached but this one, which was just lost.
    Anywhere(Option<&'a Arc<Session>>),
    /// Members connected to this node.
    Here,
}

impl<'a> Reach<'a> {
    fn is_here(self) -> bool {
        matches!(self, Reach::Here)
    }

    fn takes(self, broker: &Broker, member: &Session) -> bool {
        match self {
            Reach::Anywhere(_) => broker.peers().reaches(member),
            Reach::Here => member.is_online() && member.peer.is_none(),
        }
    }

    fn not(self) -> Option<&'a Arc<Session>> {
        match self {
            Reach::Anywhere(not) => not,
            Reach::Here => None,
        }
    }
}

/// One record and the stream it is for.
struct Record {
    stream: Arc<Stream>,
    step: usize,
}

#[derive(Default)]
pub struct Plan {
    pub steps: Vec<Step>,
    copies: Vec<Copy>,
    delayed: bool,
    /// Where the retained message stands, once it is stored.
    pub position: Option<Position>,
    /// What is owed to streams, and after [`Plan::settle`] to those that had gone on in another generation.
    records: SmallVec<[Record; 1]>,
    /// They were offered to what took the place of their stream.
    offered_again: bool,
    /// Records that streams have, or will never have.
    captured: u64,
    /// Where the first of them stands.
    recorded: Option<Position>,
    /// Copies that the store had no place for.
    lost: u64,
    /// How often its shared messages were handed on.
    handovers: u32,
    /// What the store knows repeats by.
    id: Option<MessageId>,
    /// What its steps are answered at, if not at the store's own level.
    pub level: Option<Level>,
    /// Something of it was for the store.
    pub is_owed: bool,
    /// Held while a retained value is on its way to queues.
    on_its_way: Option<OnItsWay>,
    /// Sessions that have been seen to and have no copy here: by an earlier round, or in the store as a repeat.
    covered: Vec<usize>,
}

impl Plan {
    /// Everything `message` owes.
    pub fn new(
        broker: &Broker,
        realm: &Realm,
        message: &Arc<Message>,
        matched: &Matched,
        publisher: Option<&Arc<Session>>,
        id: Option<MessageId>,
    ) -> Plan {
        let mut plan = Plan { id, ..Plan::default() };
        if message.retain {
            let kept = (!message.payload.is_empty()).then(|| message.clone());
            let op = TopicOp::Retain { message: kept };
            plan.steps.push(Step::Topic { realm: realm.name.clone(), topic: message.topic.clone(), op });
            plan.on_its_way = if matched.queued { OnItsWay::begin(broker, realm, message) } else { None };
        }
        plan.copies_of(broker, message, matched, publisher);
        plan
    }

    /// What `message` owes beside its retained value, which stands at `position`.
    pub fn stored(
        broker: &Broker,
        realm: &Realm,
        message: &Arc<Message>,
        matched: &Matched,
        publisher: Option<&Arc<Session>>,
        (id, position): (Option<MessageId>, Option<Position>),
    ) -> Plan {
        let mut plan = Plan { id, position, ..Plan::default() };
        plan.on_its_way = if matched.queued { OnItsWay::begin(broker, realm, message) } else { None };
        plan.copies_of(broker, message, matched, publisher);
        plan
    }

    /// The copies for queues, share groups and streams.
    fn copies_of(
        &mut self,
        broker: &Broker,
        message: &Arc<Message>,
        matched: &Matched,
        publisher: Option<&Arc<Session>>,
    ) {
        let id = self.id;
        let plan = self;
        let selected = matched.of(message);
        let targets = selected.as_deref().unwrap_or(&matched.targets);
        for target in targets.iter().filter_map(|t| t.for_publisher(publisher)) {
            plan.queue(target, id, fanout::delivery(message, target, None));
        }
        for group in &matched.groups {
            plan.share(broker, message, group, id, Reach::Anywhere(None));
        }
        for stream in matched.recorded_in(message) {
            let client_id = publisher.map(|session| &**session.client_id());
            plan.steps.push(capture::step(stream, message, client_id, id));
            plan.records.push(Record { stream: stream.clone(), step: plan.steps.len() - 1 });
        }
    }

    /// What the store knows repeats by.
    pub fn id(&self) -> Option<MessageId> {
        self.id
    }

    /// The stored value of a topic once more for the queues of sessions, marked as what it is: retained.
    pub fn queues(message: &Arc<Message>, matched: &Matched) -> Plan {
        let mut plan = Plan::default();
        let selected = matched.of(message);
        for target in selected.as_deref().unwrap_or(&matched.targets) {
            let delivery = Delivery { retain: true, ..fanout::delivery(message, target, None) };
            plan.queue(target, None, delivery);
        }
        plan
    }

    /// Keeps the message until `due`.
    pub fn delayed(realm: &Realm, message: &Arc<Message>, id: Option<MessageId>, due: UnixMillis) -> Plan {
        let op = TopicOp::Delay { due, id, message: message.clone() };
        let step = Step::Topic { realm: realm.name.clone(), topic: message.topic.clone(), op };
        Plan { steps: vec![step], delayed: true, ..Plan::default() }
    }

    /// Only what goes to share groups and needs no store.
    pub fn groups(broker: &Broker, message: &Arc<Message>, matched: &Matched) -> Plan {
        let mut plan = Plan::default();
        if message.qos == Qos::AtMostOnce {
            for group in &matched.groups {
                plan.share(broker, message, group, None, Reach::Anywhere(None));
            }
        }
        plan
    }

    /// Only what goes to members of share groups on this node, and needs no store.
    pub fn groups_here(broker: &Broker, message: &Arc<Message>, matched: &Matched) -> Plan {
        let mut plan = Plan::default();
        for group in &matched.groups {
            plan.share(broker, message, group, None, Reach::Here);
        }
        plan
    }

    /// Hands one shared message to another member than `not`.
    pub fn hand_on(
        broker: &Broker,
        group: &Arc<Group>,
        message: &Arc<Message>,
        id: Option<MessageId>,
        not: Option<&Arc<Session>>,
    ) -> Plan {
        let mut plan = Plan::default();
        plan.share(broker, message, group, id, Reach::Anywhere(not));
        plan
    }

    /// The same, for one that was handed on so often.
    pub fn after(self, handovers: u32) -> Plan {
        Plan { handovers, ..self }
    }

    /// Whether there is a member for every shared message.
    pub fn is_taken(&self) -> bool {
        !self.copies.iter().any(|copy| matches!(copy.to, To::Queue(_)))
    }

    /// Gives a shared message that another node has picked this one for to one of its own members.
    pub fn share_here(broker: &Broker, group: &Arc<Group>, message: &Arc<Message>, handovers: u32) -> Plan {
        let mut plan = Plan { handovers, ..Plan::default() };
        plan.share(broker, message, group, None, Reach::Here);
        plan
    }

    /// What sessions that subscribed since this plan was made are owed.
    pub fn missing(&self, message: &Arc<Message>, matched: &Matched, publisher: &Arc<Session>) -> Plan {
        let mut more = Plan { id: self.id, level: self.level, ..Plan::default() };
        let seen = |session: &Arc<Session>| {
            let address = Arc::as_ptr(session) as usize;
            self.covered.contains(&address)
                || self
                    .copies
                    .iter()
                    .any(|c| matches!(&c.to, To::Session(s) if Arc::as_ptr(s) as usize == address))
        };
        let selected = matched.of(message);
        let targets = selected.as_deref().unwrap_or(&matched.targets);
        for target in targets.iter().filter_map(|t| t.for_publisher(Some(publisher))) {
            if !seen(&target.session) {
                more.queue(target, self.id, fanout::delivery(message, target, None));
            }
        }
        more
    }

    /// Takes over which sessions `earlier` has seen to.
    pub fn covers(&mut self, earlier: &Plan) {
        self.position = earlier.position;
        self.is_owed |= earlier.is_owed;
        self.covered.extend(&earlier.covered);
        self.covered.extend(earlier.copies.iter().filter_map(|c| match &c.to {
            To::Session(session) => Some(Arc::as_ptr(session) as usize),
            _ => None,
        }));
    }

    pub fn is_delayed(&self) -> bool {
        self.delayed
    }

    fn queue(&mut self, target: &Target, id: Option<MessageId>, delivery: Delivery) {
        if let (Some(generation), true) = (target.session.stored, delivery.qos > Qos::AtMostOnce) {
            self.enqueue(
                target.session.key.clone(),
                generation,
                id,
                delivery,
                To::Session(target.session.clone()),
            );
        }
    }

    fn enqueue(
        &mut self,
        key: weir_store::SessionKey,
        generation: u64,
        id: Option<MessageId>,
        delivery: Delivery,
        to: To,
    ) {
        let op = SessionOp::Enqueue(Enqueue { generation, id, delivery: delivery.clone() });
        self.steps.push(Step::Session { key, ops: smallvec![op] });
        self.copies.push(Copy { delivery, to, step: Some(self.steps.len() - 1), number: None });
    }

    fn share(
        &mut self,
        broker: &Broker,
        message: &Arc<Message>,
        group: &Arc<Group>,
        id: Option<MessageId>,
        reach: Reach<'_>,
    ) {
        let durable = message.qos > Qos::AtMostOnce && group.keeps();
        let mut delivery = Delivery {
            message: message.clone(),
            qos: message.qos,
            retain: false,
            subscription_ids: SmallVec::new(),
            group: Some(group.filter.clone()),
        };
        let asks = Asks::of(broker, group, message);
        let may = |member: &Session| reach.takes(broker, member) && asks.may_have(member);
        let wish = Wish { here: reach.is_here(), ..broker.wish(&message.topic, durable, reach.not()) };
        let Some(pick) = group.pick(&asks.wish(wish), may) else {
            // It waits for a member that is away, not for one that there is not.
            let is_awaited =
                || group.members().iter().any(|member| member.stored.is_some() && asks.may_have(member));
            if durable && (!asks.is_for_some() || is_awaited()) {
                self.enqueue(group.key.clone(), 0, id, delivery, To::Queue(group.clone()));
            } else {
                self.copies.push(Copy { delivery, to: To::Queue(group.clone()), step: None, number: None });
            }
            return;
        };
        delivery.qos = message.qos.min(pick.qos);
        delivery.retain = message.retain && pick.retain_as_published;
        delivery.subscription_ids = pick.subscription_ids;
        let member = To::Member(pick.session.clone(), group.clone());
        match pick.session.stored {
            _ if reach.is_here() => {
                self.copies.push(Copy { delivery, to: member, step: None, number: None });
            }
            Some(generation) if delivery.qos > Qos::AtMostOnce => {
                let key = pick.session.key.clone();
                self.enqueue(key, generation, id, delivery, To::Session(pick.session));
            }
            _ if durable && delivery.qos > Qos::AtMostOnce => {
                self.enqueue(group.key.clone(), 0, id, delivery, member);
            }
            _ => self.copies.push(Copy { delivery, to: member, step: None, number: None }),
        }
    }

    /// Takes the store's answer: numbers, losses, or why it was refused.
    pub fn settle(
        mut self: Box<Self>,
        broker: &Broker,
        answer: Option<Answer>,
    ) -> Result<Box<Plan>, Refusal> {
        let answer = answer.ok_or(Refusal::Unknown)?;
        if let Some(refusal) = answer.iter().find_map(|step| step.as_ref().err()) {
            // Refused means certainly not done, not even in part (`guarantees.md` 1).
            let is_begun = *refusal == Refusal::Unavailable && answer.iter().any(Result::is_ok);
            return Err(if is_begun { Refusal::Unknown } else { *refusal });
        }
        // The retained value is the first step where there is one.
        if let Some(Ok(outcomes)) = answer.first()
            && let Some(Outcome::Retained(position)) = outcomes.first()
        {
            self.position = Some(*position);
        }
        if let Some(on_its_way) = &mut self.on_its_way {
            on_its_way.position = self.position;
        }
        let ledger = broker.ledger();
        let Plan { copies, covered, lost, records, captured, recorded, offered_again, .. } = &mut *self;
        records.retain(|record| {
            let outcome = answer.get(record.step).and_then(|step| step.as_ref().ok()?.first());
            if outcome == Some(&Outcome::Gone) && !*offered_again {
                return true;
            }
            if let Some(Outcome::Appended { mark, .. }) = outcome {
                recorded.get_or_insert(mark.position);
            }
            *captured += ledger.captured(&record.stream.name, outcome);
            false
        });
        copies.retain_mut(|copy| {
            let Some(step) = copy.step else { return true };
            let outcome = answer.get(step).and_then(|step| step.as_ref().ok()?.first());
            match ledger.enqueued(copy.to.name(), &copy.delivery.message.topic, outcome) {
                Enqueued::At(number) => copy.number = Some(number),
                Enqueued::Lost => *lost += 1,
                Enqueued::Before => {}
            }
            if let (None, To::Session(session)) = (copy.number, &copy.to) {
                covered.push(Arc::as_ptr(session) as usize);
            }
            copy.number.is_some()
        });
        Ok(self)
    }

    /// Where the message stands in the first stream that captured it.
    pub fn recorded(&self) -> Option<Position> {
        self.recorded
    }

    /// How many streams the message is for.
    pub fn records(&self) -> u64 {
        self.records.len() as u64
    }

    /// After [`Plan::settle`]: what is still owed to streams, to be offered once more; its answer is for another
    /// [`Plan::settle`].
    pub fn again(&mut self, message: &Arc<Message>, client_id: Option<&Arc<str>>) -> Option<Again> {
        if self.records.is_empty() {
            return None;
        }
        self.copies.iter_mut().for_each(|copy| copy.step = None);
        self.records.iter_mut().enumerate().for_each(|(step, record)| record.step = step);
        self.offered_again = true;
        let streams = self.records.iter().map(|record| record.stream.clone()).collect();
        Some(Again {
            message: message.clone(),
            client_id: client_id.cloned(),
            id: self.id,
            level: self.level,
            streams,
        })
    }

    /// Gives the live copies to who is online; returns how many copies the plan made, those included
    /// that [`Plan::settle`] found lost.
    /// `outgoing` gathers what goes to other nodes.
    pub fn push(&self, broker: &Broker, outgoing: &mut Outgoing) -> u64 {
        let mut frames = Frames::default();
        let mut linked = 0;
        for copy in &self.copies {
            let delivery = copy.delivery.clone();
            match &copy.to {
                To::Session(session) if session.is_online() => {
                    fanout::push_copy(broker, session, Live { delivery, number: copy.number, claim: None });
                }
                To::Session(session) => match broker.peers().slot_of(session) {
                    Some(slot) => outgoing.copy(slot, session, &delivery, copy.number),
                    // It was just lost: what it left behind has been handed on already.
                    None if delivery.group.is_some() => broker.release_late(session),
                    None => {}
                },
                To::Member(session, group) if session.peer.is_some() || !session.is_online() => {
                    match broker.peers().slot_of(session) {
                        Some(slot) if session.peer.is_some() => {
                            outgoing.share(slot, &group.filter, &delivery, (copy.number, self.handovers));
                            linked += u64::from(copy.number.is_none());
                        }
                        Some(slot) => {
                            outgoing.copy(slot, session, &delivery, None);
                            linked += 1;
                        }
                        None if copy.number.is_none() => {
                            let topic = &delivery.message.topic;
                            broker.ledger().lost_by(session.client_id(), topic, Loss::Offline, 1);
                        }
                        None => {}
                    }
                }
                To::Member(session, group) if delivery.qos > Qos::AtMostOnce => {
                    // Whoever hands out the queue may have found it there already.
                    if copy.number.is_some_and(|number| !group.claim(number)) {
                        continue;
                    }
                    let handovers = self.handovers;
                    let claim = Claim { group: group.clone(), number: copy.number, handovers };
                    fanout::push_copy(broker, session, Live { delivery, number: None, claim: Some(claim) });
                }
                To::Member(session, _) => {
                    let _ = frames.push(broker, session, delivery);
                }
                To::Queue(group) if copy.number.is_none() => {
                    let topic = &delivery.message.topic;
                    broker.ledger().lost_by(&group.key.name, topic, Loss::SharedUnclaimed, 1);
                }
                // Somebody came while it was on its way into the queue.
                To::Queue(group) if somebody_has_come(broker, group) => broker.drain_later(group.clone()),
                To::Queue(_) => {}
            }
        }
        // What goes on a link and lies in no queue is counted when it is sent.
        self.copies.len() as u64 + self.lost + self.captured - linked
    }
}

/// Whether there is a member now that can take what lies in a group's queue.
fn somebody_has_come(broker: &Broker, group: &Group) -> bool {
    group.pick(&broker.wish("", true, None), |member| broker.peers().serves(member)).is_some()
}

/// Seconds and target of a delayed topic.
pub fn split_delayed(topic: &str) -> Option<(&str, &str)> {
    topic.strip_prefix(DELAYED)?.split_once('/')
}

/// The topic a publish is for, and when: `$delayed/<seconds>/<topic>` names both.
pub fn target(topic: &str, now: UnixMillis, seconds_max: u32) -> Result<(Topic, Option<UnixMillis>), Reason> {
    let invalid = |_| Reason::TopicInvalid;
    if !topic.starts_with(DELAYED) {
        return Ok((Topic::new(topic).map_err(invalid)?, None));
    }
    let (seconds, topic) = split_delayed(topic).ok_or(Reason::TopicInvalid)?;
    let seconds: u32 = seconds.parse().map_err(|_| Reason::TopicInvalid)?;
    if seconds > seconds_max || weir_model::topic::is_reserved(topic) {
        return Err(Reason::TopicInvalid);
    }
    let due = now.after(Duration::from_secs(u64::from(seconds)));
    Ok((Topic::new(topic).map_err(invalid)?, Some(due)))
}

/// The first outcome of one step of an answer.
pub fn outcome(answer: Option<Answer>, step: usize) -> Result<Outcome, Refusal> {
    let ops = answer.and_then(|answer| answer.into_iter().nth(step)).ok_or(Refusal::Unknown)??;
    ops.into_iter().next().ok_or(Refusal::Unknown)
}

/// What a publisher hears of a refusal.
pub fn verdict(refusal: Refusal) -> Verdict {
    match refusal {
        Refusal::DiskFull
        | Refusal::StoreFull
        | Refusal::QueueRefuses
        | Refusal::QueuesFull
        | Refusal::RetainedFull
        | Refusal::TooLarge => Verdict::Refused(Reason::Quota),
        Refusal::Unavailable | Refusal::Guarded => Verdict::Refused(Reason::Busy),
        Refusal::NotOwner => Verdict::Refused(Reason::NotAuthorized),
        Refusal::Fenced | Refusal::Unknown => Verdict::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delayed_topic_names_its_seconds_and_its_target() {
        let now = UnixMillis(1_000);
        let (topic, due) = target("$delayed/5/a/b", now, 100).unwrap();
        assert_eq!((topic.as_str(), due), ("a/b", Some(UnixMillis(6_000))));
        for bad in ["$delayed/x/a", "$delayed/5", "$delayed/101/a", "$delayed/5/", "$delayed/5/$SYS/a"] {
            assert!(target(bad, now, 100).is_err(), "{bad}");
        }
    }
}
