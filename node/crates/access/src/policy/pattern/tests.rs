//! The tricky cases by hand, then all small ones against every topic of a small alphabet.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn nobody() -> Principal {
    Principal::default()
}

fn user(id: &str) -> Principal {
    Principal { user_id: Some(Arc::from(id)), client_id: Arc::from("c1"), ..Principal::default() }
}

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap()
}

fn contains(pattern_text: &str, asked: &str) -> bool {
    pattern(pattern_text).contains(&nobody(), asked)
}

fn meets(pattern_text: &str, asked: &str) -> bool {
    pattern(pattern_text).meets(&nobody(), asked)
}

#[test]
fn a_filter_is_inside_another_only_with_all_its_topics() {
    for (outer, inner) in [
        ("#", "#"),
        ("#", "+/#"),
        ("+/#", "#"),
        ("#", "a/b/c"),
        ("#", "/"),
        ("a/#", "a"),
        ("a/#", "a/#"),
        ("a/#", "a/+/c"),
        ("a/+", "a/b"),
        ("a/+", "a/"),
        ("+/x", "+/x"),
        ("/#", "/a/b"),
        ("/+", "/"),
        ("a//b", "a//b"),
        ("+/+/#", "a/+/#"),
        ("$SYS/#", "$SYS/broker/#"),
        ("$SYS/+", "$SYS/+"),
    ] {
        assert!(contains(outer, inner), "{inner} lies in {outer}");
    }
    for (outer, inner) in [
        ("a/#", "#"),
        ("a/#", "+/x"),
        ("a/+", "a/#"),
        ("a/+", "a"),
        ("a/+/#", "a/#"),
        ("a", "a/#"),
        ("a/b", "a/+"),
        ("+", "#"),
        ("+", "a/b"),
        ("+/x", "+/+"),
        ("a/b", "a//b"),
        ("a", "a/"),
        ("#", "$SYS/#"),
        ("#", "$SYS"),
        ("+/x", "$a/x"),
        ("$SYS/#", "#"),
        ("$SYS/#", "+/broker"),
    ] {
        assert!(!contains(outer, inner), "{inner} does not lie in {outer}");
    }
}

#[test]
fn filters_meet_where_they_have_one_topic_in_common() {
    for (one, other) in [
        ("secret/#", "#"),
        ("secret/#", "+/x"),
        ("secret/#", "secret"),
        ("secret/#", "+"),
        ("a/#", "+/b/c"),
        ("a/+/c", "+/b/+"),
        ("a/b/#", "a/#"),
        ("a/#", "a/b/#"),
        ("/x", "+/x"),
        ("a//b", "a/+/b"),
        ("$SYS/#", "$SYS/+"),
    ] {
        assert!(meets(one, other) && meets(other, one), "{one} meets {other}");
    }
    for (one, other) in [
        ("secret/#", "public/#"),
        ("a/+", "a"),
        ("a/+", "+/b/c"),
        ("a/b/#", "a"),
        ("a/b/#", "+"),
        ("$SYS/#", "#"),
        ("$SYS/x", "+/x"),
        ("a//b", "a/b"),
        ("a/+/c", "+/b/d"),
    ] {
        assert!(!meets(one, other) && !meets(other, one), "{one} does not meet {other}");
    }
}

#[test]
fn a_placeholder_is_one_level_with_exactly_its_value() {
    let own = pattern("{user_id}/#");
    let ann = user("ann");
    for inside in ["ann", "ann/#", "ann/+/x", "ann/"] {
        assert!(own.contains(&ann, inside), "{inside}");
    }
    for outside in ["+/#", "#", "anna/#", "bob/x", "/ann", "", "+"] {
        assert!(!own.contains(&ann, outside), "{outside}");
    }
    assert!(pattern("client/{client_id}").contains(&ann, "client/c1"));
    let claims = vec![(Arc::from("tenant"), Arc::from("acme"))];
    let member = Principal { claims, ..user("ann") };
    let tenant = pattern("{claim.tenant}/{user_id}/+");
    assert!(tenant.contains(&member, "acme/ann/x"));
    assert!(!tenant.contains(&member, "acme/bob/x") && !tenant.contains(&ann, "acme/ann/x"));
}

#[test]
fn a_value_that_is_no_level_allows_nothing() {
    let own = pattern("{user_id}/#");
    for (id, asked) in [
        ("+", "+/x"),
        ("+", "a/x"),
        ("#", "#"),
        ("#", "a"),
        ("", "/x"),
        ("", "x"),
        ("a/b", "a/b"),
        ("a/b", "a/b/x"),
        ("a\0", "a\0/x"),
        ("a+", "a+/x"),
    ] {
        assert!(!own.contains(&user(id), asked), "{id:?} {asked}");
    }
    for asked in ["x", "/x", "#", "+/x", "None"] {
        assert!(!own.contains(&nobody(), asked), "anonymous: {asked}");
    }
    assert!(!pattern("{client_id}/#").contains(&nobody(), "/x"), "an empty client id");
    assert!(!own.contains(&user(&"x".repeat(5000)), &"x".repeat(5000)));
}

#[test]
fn a_user_named_like_a_topic_of_the_broker_does_not_get_it() {
    assert!(!pattern("{user_id}/#").contains(&user("$SYS"), "$SYS/broker"));
    assert!(!pattern("{user_id}/#").contains(&user("$SYS"), "$SYS/#"));
    assert!(pattern("$view/{user_id}/#").contains(&user("$SYS"), "$view/$SYS/x"), "not in the first level");
}

#[test]
fn who_has_no_usable_value_does_not_slip_through_a_denial() {
    let secret = pattern("{user_id}/secret");
    assert!(secret.meets(&user("ann"), "ann/secret") && !secret.meets(&user("ann"), "bob/secret"));
    for id in ["", "a/b", "+", "#"] {
        assert!(secret.meets(&user(id), "bob/secret"), "{id:?}");
    }
    assert!(secret.meets(&nobody(), "bob/secret") && secret.meets(&nobody(), "+/+"));
    assert!(!secret.meets(&nobody(), "bob/other"));
    assert!(secret.meets(&user("$SYS"), "$SYS/secret"));
}

#[test]
fn a_filter_of_a_rule_is_refused_with_its_reason() {
    assert_eq!(Pattern::new("").unwrap_err(), BadPattern::Filter(Invalid::Empty));
    assert_eq!(Pattern::new("a/#/b").unwrap_err(), BadPattern::Filter(Invalid::MisplacedWildcard));
    assert_eq!(Pattern::new("$share/g/a").unwrap_err(), BadPattern::Shared);
    for level in ["{user}", "x{user_id}", "{user_id}x", "{}", "{claim.}", "{claim}", "{", "}", "{a{user_id}"]
    {
        let bad = Pattern::new(&format!("a/{level}/b")).unwrap_err();
        assert_eq!(bad, BadPattern::Placeholder { level: level.to_owned() }, "{level}");
    }
}

/// Levels of small topics: the empty one, two plain ones, and one of the broker's.
const NAMES: [&str; 4] = ["", "a", "b", "$s"];

/// Every topic of up to four levels of [`NAMES`]. The empty name counts as one: nobody can publish to
/// it, so that `/#` and `+` may be said to meet there.
fn universe() -> Vec<String> {
    let mut topics: Vec<String> = NAMES.map(str::to_owned).into();
    let mut longest = topics.clone();
    for _ in 0..3 {
        longest = longest.iter().flat_map(|topic| NAMES.map(|name| format!("{topic}/{name}"))).collect();
        topics.extend_from_slice(&longest);
    }
    topics
}

/// Filters of one to three levels, with or without `#`: shorter than the universe and with a name to
/// spare, so that every difference shows in some topic of it.
pub(in crate::policy) fn filters() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => Just("+"), 3 => Just("a"), 1 => Just(""), 1 => Just("$s"), 1 => Just("b")];
    let levels = prop::collection::vec(level, 0..=3);
    (levels, any::<bool>()).prop_filter_map("empty", |(mut levels, rest)| {
        if rest {
            levels.push("#");
        }
        let text = levels.join("/");
        (!text.is_empty()).then_some(text)
    })
}

fn topics_of(filter: &str) -> BTreeSet<String> {
    let filter = Filter::new(filter).unwrap();
    universe().into_iter().filter(|topic| filter.matches(topic)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn containment_is_that_of_the_sets_of_topics(outer in filters(), inner in filters()) {
        let subset = topics_of(&inner).is_subset(&topics_of(&outer));
        prop_assert_eq!(contains(&outer, &inner), subset, "{} in {}", inner, outer);
    }

    #[test]
    fn meeting_is_that_of_the_sets_of_topics(one in filters(), other in filters()) {
        let disjoint = topics_of(&one).is_disjoint(&topics_of(&other));
        prop_assert_eq!(meets(&one, &other), !disjoint, "{} and {}", one, other);
        prop_assert_eq!(meets(&one, &other), meets(&other, &one));
    }

    #[test]
    fn a_topic_is_judged_as_the_filter_matches_it(text in filters(), topic in "[ab$]{0,1}(/[ab$]{0,1}){0,3}") {
        prop_assume!(!topic.is_empty());
        let matches = Filter::new(&text).unwrap().matches(&topic);
        prop_assert_eq!(contains(&text, &topic), matches);
        prop_assert_eq!(meets(&text, &topic), matches);
    }
}
