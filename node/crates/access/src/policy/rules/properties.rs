//! What holds for every policy, over random rules, filters and all small topics.

use std::sync::Arc;

use proptest::prelude::*;
use weir_model::topic;

use super::*;
use crate::policy::pattern::tests::filters;

/// Rules over the small alphabet, some with a placeholder in front, as TOML.
fn policies() -> impl Strategy<Value = String> {
    rules(any::<bool>())
}

fn rules(allows: impl Strategy<Value = bool>) -> impl Strategy<Value = String> {
    let filter = (filters(), any::<bool>()).prop_map(|(text, own)| match (own, text.split_once('/')) {
        (true, Some((_, rest))) => format!("{{user_id}}/{rest}"),
        _ => text,
    });
    let rule = (prop::collection::vec(filter, 1..3), allows, 0..3u8, prop::option::of(any::<bool>()));
    let rule = rule.prop_map(|(filters, allows, qos, retain)| {
        let (verb, bound) = if allows { ("allow", "qos_max") } else { ("deny", "qos_min") };
        let retain = retain.map_or(String::new(), |only| format!("retain = {only}\n"));
        format!(
            "[[rule]]\n{verb} = ['publish', 'subscribe']\nfilters = {filters:?}\n{bound} = {qos}\n{retain}"
        )
    });
    prop::collection::vec(rule, 0..5).prop_map(|rules| rules.concat())
}

fn principals() -> impl Strategy<Value = Principal> {
    let id = prop::option::of(prop::sample::select(vec!["a", "b", "", "+", "#", "$s", "a/b"]));
    id.prop_map(|id| Principal { user_id: id.map(Arc::from), ..Principal::default() })
}

fn topics() -> impl Strategy<Value = String> {
    let level = prop::sample::select(vec!["", "a", "b", "$s"]);
    prop::collection::vec(level, 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("empty", |t| !t.is_empty())
}

fn shared(filter: &str, share: bool) -> Filter {
    Filter::new(&if share { format!("$share/g/{filter}") } else { filter.to_owned() }).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// So a denied topic reaches nobody through a subscription however wide, and every delivery path
    /// may ask for the topic alone.
    #[test]
    fn what_a_granted_subscription_covers_may_be_received(
        text in policies(), principal in principals(), filter in filters(), share in any::<bool>(),
        topics in prop::collection::vec(topics(), 16),
    ) {
        let policy = Rules::parse("p", &text).unwrap();
        let filter = shared(&filter, share);
        if let Some(granted) = policy.subscribe(&principal, &filter) {
            for topic in topics.iter().filter(|topic| filter.matches(topic)) {
                prop_assert!(policy.receive(&principal, topic), "{filter} was granted, {topic} is not received\n{text}");
                let narrow = policy.subscribe(&principal, &Filter::new(topic).unwrap());
                prop_assert!(narrow >= Some(granted), "{topic} is granted less than {filter}\n{text}");
            }
        }
    }

    #[test]
    fn to_receive_is_to_be_granted_that_very_topic(
        text in policies(), principal in principals(), topic in topics(),
    ) {
        let policy = Rules::parse("p", &text).unwrap();
        let granted = policy.subscribe(&principal, &Filter::new(&topic).unwrap());
        prop_assert_eq!(policy.receive(&principal, &topic), granted.is_some());
    }

    #[test]
    fn one_more_denial_never_gives_anything(
        text in policies(), more in rules(Just(false)), principal in principals(), topic in topics(), filter in filters(),
    ) {
        let (before, after) = (Rules::parse("p", &text).unwrap(), Rules::parse("p", &(text + &more)).unwrap());
        let filter = Filter::new(&filter).unwrap();
        let rights = before.publish(&principal, &topic);
        prop_assert_eq!(after.publish(&principal, &topic).without(rights), PublishRights::NONE);
        prop_assert!(after.subscribe(&principal, &filter) <= before.subscribe(&principal, &filter));
    }

    #[test]
    fn the_explanation_says_what_the_policy_does(
        text in policies(), principal in principals(), topic in topics(), filter in filters(),
        qos in 0..3u8, retain in any::<bool>(),
    ) {
        prop_assume!(topic::check(&topic).is_ok());
        let policy = Rules::parse("p", &text).unwrap();
        let qos = Qos::from_bits(qos).unwrap();
        let said = |action| policy.explain(&principal, action);
        let publish = said(Action::Publish { topic: &topic, qos, retain });
        prop_assert_eq!(publish.allowed, policy.publish(&principal, &topic).allows(qos, retain));
        let receive = said(Action::Receive { topic: &topic });
        prop_assert_eq!(receive.allowed, policy.receive(&principal, &topic));
        let subscribe = said(Action::Subscribe { filter: &filter, qos });
        let granted = policy.subscribe(&principal, &Filter::new(&filter).unwrap());
        prop_assert_eq!(subscribe.allowed, granted.is_some());
        prop_assert_eq!(subscribe.rule.contains("instead of"), granted.is_some_and(|granted| granted < qos));
        for explanation in [publish, receive, subscribe] {
            let verb = if explanation.allowed { ": allow " } else { ": no rule allows " };
            let denied = !explanation.allowed && explanation.rule.contains(": deny ");
            let lowered = explanation.allowed && explanation.rule.contains("instead of");
            prop_assert!(denied || lowered || explanation.rule.contains(verb), "{}", explanation.rule);
        }
    }
}
