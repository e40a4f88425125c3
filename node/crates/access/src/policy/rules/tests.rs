//! What a policy promises, rule by rule, and what judging costs.

use std::sync::Arc;
use std::time::Instant;

use super::*;

fn policy(text: &str) -> Rules {
    Rules::parse("test.toml", text).unwrap()
}

fn who(user_id: Option<&str>, roles: &[&str]) -> Principal {
    let roles = roles.iter().map(|role| Arc::from(*role)).collect();
    Principal { client_id: Arc::from("c1"), user_id: user_id.map(Arc::from), roles, ..Principal::default() }
}

fn subscribe(policy: &Rules, principal: &Principal, filter: &str) -> Option<Qos> {
    policy.subscribe(principal, &Filter::new(filter).unwrap())
}

#[test]
fn an_empty_policy_allows_nothing_but_to_connect() {
    let empty = policy("");
    let ann = who(Some("ann"), &["admin"]);
    assert_eq!(empty.publish(&ann, "a"), PublishRights::NONE);
    assert_eq!(subscribe(&empty, &ann, "a"), None);
    assert!(!empty.receive(&ann, "a") && empty.may_connect(&ann));
}

#[test]
fn the_lowest_level_is_that_of_the_rules_that_allow_this_very_publish() {
    let policy = policy(
        "[[rule]]\nroles=['sensor']\nallow=['publish']\nfilters=['t/#']\nack_level_min='stored'\nretain=false\n\
         [[rule]]\nallow=['publish']\nfilters=['t/+']\nack_level_min='fsynced'\n\
         [[rule]]\nallow=['publish','subscribe']\nfilters=['#']",
    );
    let lowest = |roles: &[&str], topic: &str, retain| {
        let level = policy.ack_level_min(&who(Some("ann"), roles), topic, Qos::AtLeastOnce, retain);
        level.map(|level| level.to_string())
    };
    assert_eq!(lowest(&["sensor"], "t/1", false).as_deref(), Some("stored"), "what rules give adds up");
    assert_eq!(
        lowest(&["sensor"], "t/1", true).as_deref(),
        Some("fsynced"),
        "with RETAIN it is another publish"
    );
    assert_eq!(lowest(&[], "t/1", false).as_deref(), Some("fsynced"));
    assert_eq!(lowest(&[], "t/1/2", false), None, "a rule that does not speak of it lowers nothing");
    assert_eq!(lowest(&["sensor"], "u", false), None);
}

#[test]
fn calling_and_registering_are_rights_of_their_own() {
    let policy = policy(
        "[[rule]]\nallow=['call']\nfilters=['app/#']\n[[rule]]\nroles=['worker']\nallow=['register']\nfilters=['app/#']\n\
         [[rule]]\ndeny=['call', 'register']\nfilters=['app/private/#']\n[[rule]]\nallow=['publish']\nfilters=['#']",
    );
    let (ann, worker) = (who(Some("ann"), &[]), who(Some("w"), &["worker"]));
    assert!(policy.may_call(&ann, "app/x") && !policy.may_call(&ann, "app/private/x"));
    assert!(!policy.may_call(&ann, "other") && !policy.may_register(&ann, "app/x"));
    assert!(policy.may_register(&worker, "app/x"));
    assert!(!policy.may_register(&worker, "app/#"), "a pattern that touches what is denied");
    assert!(policy.may_register(&worker, "app/x/#"));
}

#[test]
fn a_denial_wins_wherever_it_stands() {
    for text in [
        "[[rule]]\nallow=['publish','subscribe']\nfilters=['#']\n[[rule]]\ndeny=['publish','subscribe']\nfilters=['secret/#']",
        "[[rule]]\ndeny=['publish','subscribe']\nfilters=['secret/#']\n[[rule]]\nallow=['publish','subscribe']\nfilters=['#']",
    ] {
        let policy = policy(text);
        let ann = who(Some("ann"), &[]);
        for around in ["#", "+/x", "+/+", "+", "secret", "secret/#", "$share/g/#", "$share/g/secret/x", "+/#"]
        {
            assert_eq!(subscribe(&policy, &ann, around), None, "{around}");
        }
        for aside in ["public/#", "$share/g/public/+", "/secret/#", "Secret/#"] {
            assert_eq!(subscribe(&policy, &ann, aside), Some(Qos::ExactlyOnce), "{aside}");
        }
        assert!(
            !policy.receive(&ann, "secret") && !policy.receive(&ann, "secret/x") && policy.receive(&ann, "x")
        );
        assert_eq!(policy.publish(&ann, "secret/x"), PublishRights::NONE);
        assert_eq!(policy.publish(&ann, "public"), PublishRights::ALL);
    }
}

#[test]
fn a_wildcard_never_means_the_topics_of_the_broker() {
    let all = policy("[[rule]]\nallow=['publish','subscribe']\nfilters=['#', '+/x']");
    let ann = who(Some("ann"), &[]);
    for reserved in ["$SYS/#", "$SYS", "$share/g/$SYS/x", "$x/x"] {
        assert_eq!(subscribe(&all, &ann, reserved), None, "{reserved}");
    }
    assert_eq!(all.publish(&ann, "$SYS/x"), PublishRights::NONE);
    assert!(!all.receive(&ann, "$SYS/x"));
    let named = policy(
        "[[rule]]\nallow=['subscribe']\nfilters=['#', '$SYS/#']\n[[rule]]\ndeny=['subscribe']\nfilters=['$SYS/drops/#']",
    );
    assert_eq!(subscribe(&named, &ann, "$SYS/broker/#"), Some(Qos::ExactlyOnce));
    assert_eq!(subscribe(&named, &ann, "#"), Some(Qos::ExactlyOnce), "`#` does not touch what is denied");
    assert_eq!(subscribe(&named, &ann, "$SYS/#"), None);
}

#[test]
fn a_subscription_lies_within_one_filter_not_within_several() {
    let halves = policy("[[rule]]\nallow=['subscribe']\nfilters=['a', 'a/+/#']");
    let ann = who(Some("ann"), &[]);
    assert_eq!(subscribe(&halves, &ann, "a/#"), None);
    assert!(halves.receive(&ann, "a") && halves.receive(&ann, "a/b/c"));
}

#[test]
fn roles_are_those_of_the_authenticator_and_two_that_nobody_can_claim() {
    let text = "
        [[rule]]\nroles=['anonymous']\nallow=['subscribe']\nfilters=['public/#']
        [[rule]]\nroles=['authenticated']\nallow=['subscribe']\nfilters=['inside/#']
        [[rule]]\nroles=['sensor', 'meter']\nallow=['publish']\nfilters=['data/#']";
    let policy = policy(text);
    let anonymous = who(None, &["authenticated"]);
    let ann = who(Some("ann"), &["anonymous", "meter"]);
    assert!(policy.receive(&anonymous, "public/x") && !policy.receive(&anonymous, "inside/x"));
    assert!(policy.receive(&ann, "inside/x") && !policy.receive(&ann, "public/x"));
    assert_eq!(policy.publish(&ann, "data/x"), PublishRights::ALL);
    assert_eq!(policy.publish(&anonymous, "data/x"), PublishRights::NONE);
    assert_eq!(policy.publish(&who(Some("bob"), &["mete"]), "data/x"), PublishRights::NONE);
}

#[test]
fn the_highest_allowed_qos_counts_and_the_lowest_denied_one_caps_it() {
    let text = "
        [[rule]]\nallow=['publish','subscribe']\nfilters=['#']\nqos_max=0
        [[rule]]\nallow=['publish','subscribe']\nfilters=['a/#']\nqos_max=2
        [[rule]]\ndeny=['publish','subscribe']\nfilters=['a/low/#']\nqos_min=1";
    let policy = policy(text);
    let ann = who(Some("ann"), &[]);
    assert_eq!(subscribe(&policy, &ann, "#"), Some(Qos::AtMostOnce));
    assert_eq!(subscribe(&policy, &ann, "a/b"), Some(Qos::ExactlyOnce));
    assert_eq!(subscribe(&policy, &ann, "a/#"), Some(Qos::AtMostOnce), "it touches a/low");
    assert!(policy.receive(&ann, "a/low/x"), "what is denied from QoS 1 is received at QoS 0");
    let low = policy.publish(&ann, "a/low/x");
    assert!(low.allows(Qos::AtMostOnce, true) && !low.allows(Qos::AtLeastOnce, false));
    assert_eq!(policy.publish(&ann, "a/b"), PublishRights::ALL);
}

#[test]
fn retain_narrows_what_is_published_and_nothing_else() {
    let text = "
        [[rule]]\nallow=['publish','subscribe']\nfilters=['#']\nretain=false
        [[rule]]\nallow=['publish']\nfilters=['{user_id}/#']\nretain=true
        [[rule]]\ndeny=['publish']\nfilters=['+/log/#']\nretain=true";
    let policy = policy(text);
    let ann = who(Some("ann"), &[]);
    let (anywhere, own, log) =
        (policy.publish(&ann, "x"), policy.publish(&ann, "ann/x"), policy.publish(&ann, "ann/log/x"));
    assert!(anywhere.allows(Qos::ExactlyOnce, false) && !anywhere.allows(Qos::AtMostOnce, true));
    assert_eq!(own, PublishRights::ALL);
    assert!(log.allows(Qos::AtLeastOnce, false) && !log.allows(Qos::AtLeastOnce, true));
    assert!(policy.receive(&ann, "x"));
}

#[test]
fn who_may_connect_is_everybody_until_a_rule_says_who() {
    let none = policy("[[rule]]\nallow=['publish']\nfilters=['#']");
    let list =
        policy("[[rule]]\nroles=['a','b']\nallow=['connect']\n[[rule]]\nroles=['b']\ndeny=['connect']");
    let ban = policy("[[rule]]\nroles=['b']\ndeny=['connect']");
    let (a, b, c) = (who(Some("1"), &["a"]), who(Some("2"), &["a", "b"]), who(None, &[]));
    assert!(none.may_connect(&a) && none.may_connect(&c));
    assert!(list.may_connect(&a) && !list.may_connect(&b) && !list.may_connect(&c));
    assert!(ban.may_connect(&a) && !ban.may_connect(&b) && ban.may_connect(&c));
}

/// Ten rules of which the last one decides, as a device would meet them.
const TEN_RULES: &str = "
    [[rule]]\nroles=['admin']\nallow=['publish','subscribe']\nfilters=['#', '$SYS/#']
    [[rule]]\nroles=['service']\nallow=['subscribe']\nfilters=['+/event/#']
    [[rule]]\nroles=['anonymous']\nallow=['subscribe']\nfilters=['public/#']
    [[rule]]\nallow=['subscribe']\nfilters=['news/+/headline', 'weather/#']
    [[rule]]\nroles=['device']\ndeny=['publish']\nfilters=['+/config/#']
    [[rule]]\nroles=['device']\ndeny=['subscribe']\nfilters=['+/secret/#']
    [[rule]]\nroles=['device']\nallow=['publish']\nfilters=['fleet/{claim.fleet}/#']\nqos_max=1
    [[rule]]\nroles=['device']\nallow=['publish']\nfilters=['client/{client_id}/state']\nretain=true
    [[rule]]\nroles=['device']\ndeny=['publish']\nfilters=['#']\nretain=true\nqos_min=2
    [[rule]]\nroles=['device']\nallow=['publish','subscribe']\nfilters=['{user_id}/#']";

#[test]
fn judging_by_ten_rules_prints_what_it_costs() {
    let policy = policy(TEN_RULES);
    let claims = vec![(Arc::from("fleet"), Arc::from("north"))];
    let device = Principal { claims, ..who(Some("device-0042"), &["device"]) };
    let filter = Filter::new("device-0042/+/command").unwrap();
    let per_call = |what: &str, judge: &dyn Fn() -> bool| {
        const CALLS: u32 = 20_000;
        let start = Instant::now();
        let yes = (0..CALLS).filter(|_| std::hint::black_box(judge())).count();
        println!("{what}: {:?} each, {yes} of {CALLS} allowed", start.elapsed() / CALLS);
        yes == CALLS as usize
    };
    let publish =
        || policy.publish(&device, "device-0042/sensor/temperature").allows(Qos::AtLeastOnce, false);
    assert!(per_call("publish", &publish));
    assert!(per_call("receive", &|| policy.receive(&device, "device-0042/sensor/command")));
    assert!(
        !per_call("subscribe", &|| policy.subscribe(&device, &filter).is_some()),
        "it touches +/secret/#"
    );
    assert!(per_call("connect", &|| policy.may_connect(&device)));
}
