//! Verdicts in the words an operator reads.

use std::sync::Arc;

use super::*;

const POLICY: &str = "\
[[rule]]
roles = ['device', 'authenticated']
allow = ['publish', 'subscribe']
filters = ['{user_id}/#', 'all/+']

[[rule]]
deny = ['publish', 'subscribe']
filters = ['+/secret/#']

[[rule]]
deny = ['subscribe']
filters = ['+/bulk/#']
qos_min = 1

[[rule]]
roles = ['blocked']
deny = ['connect']
";

fn says(roles: &[&str], action: Action<'_>) -> (bool, String) {
    let roles = roles.iter().map(|role| Arc::from(*role)).collect();
    let ann = Principal { user_id: Some(Arc::from("ann")), roles, ..Principal::default() };
    let Explanation { allowed, rule } = Rules::parse("policy.toml", POLICY).unwrap().explain(&ann, action);
    (allowed, rule)
}

fn subscribe(filter: &str) -> (bool, String) {
    says(&[], Action::Subscribe { filter, qos: Qos::ExactlyOnce })
}

#[test]
fn the_deciding_rule_is_named_with_its_line_and_its_filter() {
    let publish = |topic| says(&[], Action::Publish { topic, qos: Qos::AtMostOnce, retain: true });
    let allowed = "policy.toml rule 1 (line 1): allow publish {user_id}/# to authenticated, device";
    assert_eq!(publish("ann/x"), (true, allowed.to_owned()));
    assert_eq!(
        publish("ann/secret"),
        (false, "policy.toml rule 2 (line 6): deny publish +/secret/#".to_owned())
    );
    assert_eq!(
        publish("bob/x"),
        (false, "policy.toml: no rule allows publish of bob/x at QoS 0 with RETAIN".to_owned())
    );
    assert_eq!(
        says(&[], Action::Receive { topic: "x/secret" }),
        (false, "policy.toml rule 2 (line 6): deny subscribe +/secret/#".to_owned())
    );
}

#[test]
fn a_subscription_that_is_too_wide_hears_what_it_could_have() {
    assert_eq!(
        subscribe("+/x"),
        (
            false,
            "policy.toml: no rule allows subscribe to all of +/x; a part: policy.toml rule 1 (line 1): \
             allow subscribe {user_id}/# to authenticated, device"
                .to_owned()
        )
    );
    assert_eq!(subscribe("bob/x"), (false, "policy.toml: no rule allows subscribe to bob/x".to_owned()));
    assert_eq!(
        subscribe("a/#/b").1,
        "the filter a/#/b has a wildcard that does not stand alone in its level, or `#` before the last one"
    );
}

#[test]
fn a_lower_qos_is_said_with_the_rule_that_lowers_it() {
    assert_eq!(
        subscribe("ann/bulk/x"),
        (
            true,
            "policy.toml rule 3 (line 10): deny subscribe +/bulk/# from QoS 1; granted is QoS 0 instead of 2"
                .to_owned()
        )
    );
}

#[test]
fn to_connect_needs_no_rule_unless_one_speaks_of_it() {
    assert_eq!(
        says(&[], Action::Connect),
        (true, "policy.toml: no rule keeps it from connecting".to_owned())
    );
    assert_eq!(
        says(&["blocked"], Action::Connect),
        (false, "policy.toml rule 4 (line 15): deny connect to blocked".to_owned())
    );
}

#[test]
fn what_is_no_topic_is_not_judged() {
    let topic = "a/#";
    assert!(!says(&[], Action::Receive { topic }).0);
    assert!(!says(&[], Action::Publish { topic, qos: Qos::AtMostOnce, retain: false }).0);
}
