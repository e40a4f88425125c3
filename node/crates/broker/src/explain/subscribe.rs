//! What would become of a subscription.

use weir_access::Action;
use weir_model::{Filter, Qos};

use super::answer::{Check, Sub};
use super::{Explainer, Room, Subject, check, check_depth};
use crate::clock;
use crate::retained::PageMax;

/// One look at the retained messages, and how many looks there are; beyond, an answer says "more".
const PAGE: PageMax = PageMax { messages: 1024, bytes: usize::MAX, examined: 4096 };
const PAGES_MAX: usize = 64;

impl Explainer<'_> {
    pub(super) fn explain_sub(&self, subject: &Subject, asked: &str, qos: Qos) -> Sub {
        let filter = Filter::new(asked);
        let known = |filter: &Filter| subject.session.as_ref().is_some_and(|session| session.has(filter));
        let known = filter.as_ref().is_ok_and(known);
        let checks = self.filter_checks(subject, asked, known);
        let (mut allowed, mut rule) =
            self.verdict(&subject.principal, Action::Subscribe { filter: asked, qos });
        if let Some(failed) = checks.iter().find(|check| !check.passed) {
            (allowed, rule) = (false, format!("{}: {}", failed.what, failed.found));
        }
        let right = |filter: &Filter| self.broker.access().subscribe_right(&subject.principal, filter);
        let granted = filter.as_ref().ok().filter(|_| allowed).and_then(right);
        let mut answer = Sub {
            allowed,
            rule,
            who: subject.who(),
            filter: asked.to_owned(),
            qos: qos as u8,
            qos_granted: granted.map(|granted| granted.min(qos) as u8),
            checks,
            known,
            retained_total: 0,
            retained_more: false,
            retained_denied: 0,
            group: None,
        };
        match filter {
            Ok(filter) if filter.share().is_some() => {
                let group = self.realm.routes.group(&filter);
                let pattern = filter.pattern();
                answer.group = group.map(|group| self.group(&group, pattern, &mut Room::new()));
            }
            Ok(filter) => self.count_retained(subject, &filter, &mut answer),
            Err(_) => {}
        }
        answer
    }

    /// What is checked before the policy is asked.
    fn filter_checks(&self, subject: &Subject, asked: &str, known: bool) -> Vec<Check> {
        let config = self.broker.config();
        let invalid = Filter::new(asked).err().map(|problem| format!("it {problem}"));
        let count = subject.session.as_ref().map_or(0, |session| session.subscription_count());
        let max = config.subscriptions_max;
        let full = (!known && count >= max).then(|| format!("there are {count} of at most {max} already"));
        let pattern = Filter::new(asked).map_or(asked.to_owned(), |filter| filter.pattern().to_owned());
        vec![
            check("filter", "a valid topic filter", invalid),
            check_depth(config, &pattern),
            check("subscriptions", format!("{count} of at most {max}"), full),
        ]
    }

    fn count_retained(&self, subject: &Subject, filter: &Filter, answer: &mut Sub) {
        let (access, now) = (self.broker.access(), clock::unix());
        let mut after = None;
        for _ in 0..PAGES_MAX {
            let page = self.realm.retained.page(filter, after.as_ref(), now, PAGE);
            for message in &page.messages {
                match access.may_receive(&subject.principal, &message.topic) {
                    true => answer.retained_total += 1,
                    false => answer.retained_denied += 1,
                }
            }
            after = page.next;
            if after.is_none() {
                return;
            }
        }
        answer.retained_more = true;
    }
}
