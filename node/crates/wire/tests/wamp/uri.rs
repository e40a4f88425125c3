//! Names: what is a URI, and which topics it means.

use proptest::prelude::*;
use weir_model::topic::Invalid;
use weir_wire::wamp::message::Match;
use weir_wire::wamp::uri::*;

const LOOSE: Rules = Rules { strict: false, fox: false };
const STRICT: Rules = Rules { strict: true, fox: false };
const FOX: Rules = Rules { strict: false, fox: true };

fn pattern(uri: &str, policy: Match) -> Pattern {
    Pattern::new(uri, policy, LOOSE).unwrap_or_else(|error| panic!("{uri}: {error}"))
}

fn filter(uri: &str, policy: Match, rules: Rules) -> Result<String, UriError> {
    Pattern::new(uri, policy, rules).map(|pattern| pattern.filter().as_str().to_owned())
}

#[test]
fn loose_and_strict_uris_are_those_of_the_standard() {
    for good in ["a", "com.myapp.topic_1", "wamp.error", "0"] {
        assert_eq!(check(good, STRICT), Ok(()), "{good}");
        assert_eq!(check(good, LOOSE), Ok(()), "{good}");
    }
    for loose in ["Com.MyApp", "com.my-app", "ä.ö", "a%2Eb", "a.*", "a/b"] {
        assert_eq!(check(loose, STRICT), Err(UriError::NotStrict), "{loose}");
        assert_eq!(check(loose, LOOSE), Ok(()), "{loose}");
    }
    for rules in [LOOSE, STRICT] {
        assert_eq!(check("", rules), Err(UriError::Empty));
        for bad in [".", "a.", ".a", "a..b"] {
            assert_eq!(check(bad, rules), Err(UriError::EmptyComponent), "{bad}");
        }
        for bad in ["a b", "a\tb", "a.#", "a#b", "a\u{2003}b", "a\n"] {
            assert_eq!(check(bad, rules), Err(UriError::Character), "{bad}");
        }
    }
}

#[test]
fn what_begins_with_wamp_is_the_routers() {
    assert!(is_reserved("wamp") && is_reserved("wamp.session.count"));
    assert!(!is_reserved("wampy.x") && !is_reserved("com.wamp"));
}

#[test]
fn names_translate_as_the_guarantees_say() {
    for (topic, uri) in [
        ("app/topic/name", "app.topic.name"),
        ("br/dotted.name", "br.dotted%2Ename"),
        ("100%", "100%25"),
        ("100%25", "100%"),
        ("a%2Fb", "a/b"),
        ("a%2Bb/%23", "a+b.#"),
        ("a%252Fb", "a%2Fb"),
        ("a%2Eb", "a%252Eb"),
        ("a%252Eb", "a%25252Eb"),
        ("/a", ".a"),
        ("a//b/", "a..b."),
        ("%2e", "%252e"),
        ("ä/%", "ä.%25"),
    ] {
        assert_eq!(of_topic(topic), uri);
        assert_eq!(to_topic_text(uri), topic);
    }
}

#[test]
fn no_uri_can_name_another_level_or_a_wildcard() {
    for uri in ["a/b", "a.+", "a+", "%2F", "%252F", "a/../b"] {
        let topic = topic(uri, LOOSE);
        let levels = uri.split('.').count();
        if let Ok(topic) = topic {
            assert_eq!(topic.split('/').count(), levels, "{uri} is {topic}");
            assert!(!topic.contains(['+', '#']), "{uri} is {topic}");
        }
    }
    assert_eq!(topic("a/b", LOOSE).unwrap().as_str(), "a%2Fb");
    assert_eq!(topic("a.+", LOOSE).unwrap().as_str(), "a/%2B");
}

#[test]
fn what_is_no_topic_is_refused_by_name() {
    assert_eq!(topic("a\0b", LOOSE), Err(UriError::Topic(Invalid::Null)));
    assert_eq!(topic(&"x".repeat(4097), LOOSE), Err(UriError::Topic(Invalid::TooLong)));
    assert_eq!(topic(&"/".repeat(2000), LOOSE), Err(UriError::Topic(Invalid::TooLong)));
    assert_eq!(topic(&vec!["a"; 129].join("."), LOOSE), Err(UriError::Topic(Invalid::TooDeep)));
    assert_eq!(topic("a..b", LOOSE), Err(UriError::EmptyComponent));
    assert_eq!(topic("A", STRICT), Err(UriError::NotStrict));
}

#[test]
fn fox_wildcards_are_for_subscriptions_only() {
    for uri in ["a.*", "*", "a.#", "#.b"] {
        assert_eq!(topic(uri, FOX), Err(UriError::Wildcard), "{uri}");
    }
    assert_eq!(topic("a.*", LOOSE).unwrap().as_str(), "a/*");
    assert_eq!(topic("a*.b", FOX).unwrap().as_str(), "a*/b");
    assert_eq!(filter("a.*.c", Match::Exact, FOX).unwrap(), "a/+/c");
    assert_eq!(filter("t.#", Match::Exact, FOX).unwrap(), "t/#");
    assert_eq!(filter("#", Match::Exact, FOX).unwrap(), "#");
    assert_eq!(filter("a.#.c", Match::Exact, FOX), Err(UriError::MisplacedHash));
    assert_eq!(filter("a.#", Match::Exact, LOOSE), Err(UriError::Character));
    assert_eq!(filter("a.*", Match::Exact, LOOSE).unwrap(), "a/*");
    assert_eq!(filter("a.*..d", Match::Wildcard, FOX).unwrap(), "a/+/+/d");
    assert_eq!(filter("a..b", Match::Exact, FOX), Err(UriError::EmptyComponent));
    assert_eq!(filter("", Match::Exact, FOX), Err(UriError::Empty));
}

#[test]
fn an_exact_subscription_means_one_topic() {
    let exact = pattern("com.myapp.topic", Match::Exact);
    assert!(!exact.filter().is_wildcard() && exact.prefix().is_none());
    assert!(exact.matches("com/myapp/topic"));
    assert!(!exact.matches("com/myapp/topic/x"));
    assert!(pattern("a.+", Match::Exact).matches("a/%2B"));
}

#[test]
fn a_prefix_means_every_uri_that_begins_so() {
    let prefix = pattern("com.myapp.top", Match::Prefix);
    assert_eq!(prefix.filter().as_str(), "com/myapp/#");
    for topic in ["com/myapp/top", "com/myapp/topic", "com/myapp/top/a/b", "com/myapp/top.dotted"] {
        assert!(prefix.matches(topic), "{topic}");
    }
    for topic in ["com/myapp", "com/myapp/to", "com/myapp/x", "com/myapptop", "com/myapp/to.p"] {
        assert!(!prefix.matches(topic), "{topic}");
    }
    assert!(pattern("com.myapp.", Match::Prefix).matches("com/myapp/x"));
    assert!(!pattern("com.myapp.", Match::Prefix).matches("com/myapp"));
    assert!(pattern("", Match::Prefix).matches("any/thing"));
    assert!(!pattern("", Match::Prefix).matches("$SYS/uptime"));
    assert!(pattern("a.b%2", Match::Prefix).matches("a/b.c"));
    assert_eq!(filter("a..b", Match::Prefix, LOOSE), Err(UriError::EmptyComponent));
    assert_eq!(filter("Com", Match::Prefix, STRICT), Err(UriError::NotStrict));
}

#[test]
fn an_empty_component_of_a_wildcard_pattern_means_any_one() {
    let wildcard = pattern("com..topic", Match::Wildcard);
    assert_eq!(wildcard.filter().as_str(), "com/+/topic");
    assert!(wildcard.matches("com/x/topic"));
    assert!(!wildcard.matches("com/x/y/topic"));
    assert_eq!(filter("a..", Match::Wildcard, STRICT).unwrap(), "a/+/+");
    assert_eq!(filter(".b", Match::Wildcard, STRICT).unwrap(), "+/b");
    assert_eq!(filter("", Match::Wildcard, STRICT).unwrap(), "+");
    assert!(!pattern(".uptime", Match::Wildcard).matches("$SYS/uptime"));
    assert_eq!(filter("a.B", Match::Wildcard, STRICT), Err(UriError::NotStrict));
}

#[test]
fn no_uri_becomes_a_shared_subscription() {
    for uri in ["$share.g.t", "$share"] {
        assert_eq!(filter(uri, Match::Exact, LOOSE), Err(UriError::Shared));
        assert_eq!(filter(uri, Match::Exact, FOX), Err(UriError::Shared));
        assert_eq!(filter(uri, Match::Wildcard, LOOSE), Err(UriError::Shared));
    }
    assert_eq!(filter("$share.g.", Match::Prefix, LOOSE), Err(UriError::Shared));
}

/// Texts in which escapes and what looks like them are likely.
fn likely(also: &'static str) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("%".to_owned()),
        Just("25".to_owned()),
        Just("2E".to_owned()),
        Just("2F".to_owned()),
        Just("2B".to_owned()),
        Just("23".to_owned()),
        Just("2".to_owned()),
        Just("2e".to_owned()),
        Just(".".to_owned()),
        Just("/".to_owned()),
        also,
        "\\PC",
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn every_topic_has_a_uri_of_its_own(topic in likely("[a-z%]").prop_map(|text| text.replace(['+', '#'], ""))) {
        let uri = of_topic(&topic);
        prop_assert_eq!(to_topic_text(&uri), topic.as_str());
        prop_assert_eq!(uri.split('.').count(), topic.split('/').count());
    }

    #[test]
    fn every_uri_has_a_topic_of_its_own(uri in likely("[+#%]")) {
        let topic = to_topic_text(&uri);
        prop_assert!(!topic.contains(['+', '#']));
        prop_assert_eq!(of_topic(&topic), uri.as_str());
        prop_assert_eq!(uri.split('.').count(), topic.split('/').count());
    }

    #[test]
    fn a_prefix_matches_exactly_the_uris_that_begin_so(topic in "[a%.E25]{1,6}(/[a%.E25]{0,4}){0,2}", prefix in "[a%.E25]{0,5}") {
        let Ok(pattern) = Pattern::new(&prefix, Match::Prefix, LOOSE) else { return Ok(()) };
        prop_assert_eq!(pattern.matches(&topic), of_topic(&topic).starts_with(&prefix));
    }

    #[test]
    fn whatever_a_uri_is_no_rule_panics(uri in "\\PC{0,20}", strict: bool, fox: bool) {
        let rules = Rules { strict, fox };
        let _ = (check(&uri, rules), topic(&uri, rules));
        for policy in [Match::Exact, Match::Prefix, Match::Wildcard] {
            let _ = Pattern::new(&uri, policy, rules);
        }
    }
}
