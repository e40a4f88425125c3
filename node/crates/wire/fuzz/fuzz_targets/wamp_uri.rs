//! Names of WAMP and MQTT: every one has a partner of its own on the other side.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_model::Topic;
use weir_wire::wamp::message::Match;
use weir_wire::wamp::uri::{Pattern, Rules, of_topic, to_topic_text, topic};

fuzz_target!(|text: &str| {
    let named = to_topic_text(text);
    assert!(!named.contains(['+', '#']));
    assert_eq!(of_topic(&named), text);
    if Topic::new(text).is_ok() {
        assert_eq!(to_topic_text(&of_topic(text)), text);
    }
    for (strict, fox) in [(false, false), (true, false), (false, true)] {
        let rules = Rules { strict, fox };
        let topic = topic(text, rules);
        for policy in [Match::Exact, Match::Prefix, Match::Wildcard] {
            let pattern = Pattern::new(text, policy, rules);
            if let (Ok(topic), Ok(pattern)) = (&topic, pattern) {
                // A name is among what it means as a pattern, but for what is reserved to the broker.
                assert!(pattern.matches(topic) || topic.starts_with('$'));
            }
        }
    }
});
