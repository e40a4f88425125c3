//! What would become of a message.

use std::sync::Arc;

use weir_access::{Access, Action};
use weir_model::topic::is_bridge_state;
use weir_model::{Qos, Topic};

use super::answer::{Check, Outcome, Pub, Receiver, Retained};
use super::{Explainer, Room, Subject, check, check_depth, filters};
use crate::clock;
use crate::publish::{cache, plan};
use crate::routes::{Matched, Target};

impl Explainer<'_> {
    pub(super) fn explain_pub(&self, subject: &Subject, asked: &str, qos: Qos, retain: bool) -> Pub {
        let now = clock::unix();
        let target = plan::target(asked, now, self.broker.config().delay_seconds_max).ok();
        let topic = plan::split_delayed(asked).map_or(asked, |(_, target)| target);
        let checks = self.checks(asked, topic);
        let (mut allowed, mut rule) =
            self.verdict(&subject.principal, Action::Publish { topic, qos, retain });
        if let Some(failed) = checks.iter().find(|check| !check.passed) {
            (allowed, rule) = (false, format!("{}: {}", failed.what, failed.found));
        }
        let mut answer = Pub {
            allowed,
            rule,
            who: subject.who(),
            topic: topic.to_owned(),
            qos: qos as u8,
            retain,
            delay_seconds: target.and_then(|(_, due)| Some(due?.since(now).as_secs())),
            checks,
            retained: if retain { Retained::Stored } else { Retained::Untouched },
            kept: false,
            receivers: Vec::new(),
            receivers_total: 0,
            enqueued_total: 0,
            denied_total: 0,
            groups: Vec::new(),
            groups_total: 0,
            streams: Vec::new(),
            streams_total: 0,
        };
        if Topic::new(topic).is_ok() {
            self.tell_receivers(subject, &mut answer, qos);
        }
        answer.kept =
            retain || answer.delay_seconds.is_some() || answer.enqueued_total > 0 || answer.streams_total > 0;
        answer.kept |= qos > Qos::AtMostOnce && answer.groups.iter().any(|group| group.keeps);
        answer
    }

    /// What the door checks before it asks the policy.
    fn checks(&self, asked: &str, topic: &str) -> Vec<Check> {
        let config = self.broker.config();
        let invalid = Topic::new(topic).err().map(|problem| format!("it {problem}"));
        let own = cache::is_broker_only(topic).then(|| "only the broker publishes there".to_owned());
        let mut checks = vec![
            check("name", "a valid topic name", invalid),
            check_depth(config, topic),
            check("reserved", if is_bridge_state(topic) { "a bridge's state" } else { "no" }, own),
        ];
        if asked.starts_with(plan::DELAYED) {
            let max = config.delay_seconds_max;
            let bad = plan::target(asked, clock::unix(), max).is_err();
            let problem = bad.then(|| {
                format!("not `$delayed/<seconds>/<topic>` with at most {max} seconds and a topic of clients")
            });
            checks.push(check("delayed", format!("published to {topic} when it is due"), problem));
        }
        checks
    }

    fn tell_receivers(&self, subject: &Subject, answer: &mut Pub, qos: Qos) {
        let topic = answer.topic.clone();
        // Everybody, whatever the policy says, so that whom it denies is told.
        let Matched { targets, groups, captures, .. } = self.realm.routes.find(&topic, &Access::open());
        let mut room = Room::new();
        for target in &targets {
            let denied = self.denied(&target.session, &topic);
            let (outcome, own) = outcome(target, subject, qos, denied.is_some());
            answer.enqueued_total += usize::from(outcome == Outcome::Enqueued);
            answer.denied_total += usize::from(outcome == Outcome::Denied);
            let filters = filters(&target.session, &topic);
            let bytes = filters.iter().map(String::len).sum::<usize>() + target.session.client_id().len();
            if room.takes(bytes) {
                answer.receivers.push(Receiver {
                    client: target.session.client_id().clone(),
                    filters,
                    qos: own as u8,
                    online: target.session.is_online(),
                    outcome,
                    rule: denied,
                });
            }
        }
        answer.receivers_total = targets.len();
        let told = |group: &Arc<crate::share::Group>| self.group(group, &topic, &mut room);
        answer.groups = groups.iter().take(super::NAMED_MAX).map(told).collect();
        answer.groups_total = groups.len();
        answer.streams = captures.iter().map(|stream| stream.name.clone()).collect();
        answer.streams.sort();
        answer.streams.truncate(super::NAMED_MAX);
        answer.streams_total = captures.len();
    }
}

/// What becomes of a receiver's copy, and its QoS.
fn outcome(target: &Target, subject: &Subject, qos: Qos, denied: bool) -> (Outcome, Qos) {
    let Some(own) = target.for_publisher(subject.session.as_ref()) else {
        return (Outcome::NoLocal, qos.min(target.qos));
    };
    let qos = qos.min(own.qos);
    let outcome = match (denied, target.session.is_online()) {
        (true, _) => Outcome::Denied,
        _ if qos > Qos::AtMostOnce && target.session.stored.is_some() => Outcome::Enqueued,
        (_, true) => Outcome::Sent,
        (_, false) => Outcome::Offline,
    };
    (outcome, qos)
}
