//! What the grammar takes, and what it refuses in which line.

use super::*;

fn refused(text: &str) -> (usize, String) {
    let refused = parse(text).unwrap_err();
    (refused.line, refused.problem.to_string())
}

#[test]
fn a_rule_says_where_it_stands() {
    let rules =
        parse("# who\n\n[[rule]]\nallow = ['connect']\n\n[[rule]]\ndeny = ['publish']\nfilters = ['a']\n")
            .unwrap();
    assert_eq!(rules.iter().map(|rule| (rule.number, rule.line)).collect::<Vec<_>>(), [(1, 3), (2, 6)]);
}

#[test]
fn a_mistake_is_named_with_its_line() {
    let rule = "\n[[rule]]\n";
    for (text, line, part) in [
        ("[[rule]]\nallow = [", 2, ""),
        ("rules = 1", 1, "unknown field `rules`"),
        ("[[rule]]\nallow = ['publish']\ntopics = ['a']", 3, "unknown field `topics`"),
        ("[[rule]]\nroles = 'device'", 2, "invalid type"),
        ("[[rule]]\nfilters = ['a']", 1, "`allow` or `deny`"),
        ("\n[[rule]]\nallow = []\nfilters = ['a']", 2, "`allow` or `deny`"),
        ("[[rule]]\nallow = ['publish']\ndeny = ['publish']\nfilters = ['a']", 1, "not both"),
        ("[[rule]]\nallow = ['publish',\n'read']\nfilters = ['a']", 3, "no action `read`"),
        ("[[rule]]\nallow = ['retain']\nfilters = ['a']", 2, "`retain = true`"),
        ("[[rule]]\nallow = ['connect']\nfilters = ['a']", 1, "rule of its own"),
        ("[[rule]]\nallow = ['connect', 'publish']", 1, "rule of its own"),
        ("[[rule]]\nallow = ['connect']\nqos_max = 1", 1, "rule of its own"),
        ("[[rule]]\nroles = []\nallow = ['connect']", 2, "concerns nobody"),
        ("[[rule]]\nroles = ['']\nallow = ['connect']", 2, "without a name"),
        ("[[rule]]\nallow = ['publish']", 1, "`filters` is missing"),
        ("[[rule]]\nallow = ['publish']\nfilters = []", 1, "`filters` is missing"),
        (
            "[[rule]]\nallow = ['publish']\nfilters = ['a',\n'b/{me}']",
            4,
            "`b/{me}` has `{` or `}` in the level `{me}`",
        ),
        ("[[rule]]\nallow = ['publish']\nfilters = ['a#']", 3, "wildcard"),
        ("[[rule]]\nallow = ['subscribe']\nfilters = ['$share/g/a']", 3, "is shared"),
        (
            "[[rule]]\nallow = ['publish']\nfilters = ['a']\nqos_max = 3",
            4,
            "`qos_max` is 3; allowed is 0, 1 or 2",
        ),
        ("[[rule]]\ndeny = ['publish']\nfilters = ['a']\nqos_min = -1", 4, "`qos_min` is -1"),
        ("[[rule]]\ndeny = ['publish']\nfilters = ['a']\nqos_max = 1", 4, "is `qos_min`"),
        ("[[rule]]\nallow = ['publish']\nfilters = ['a']\nqos_min = 1", 4, "is `qos_max`"),
        ("[[rule]]\nallow = ['subscribe']\nfilters = ['a']\nretain = true", 4, "narrows `publish`"),
        ("[[rule]]\nallow = ['publish']\nfilters = ['a']\nack_level_min = 'none'", 4, "`none` is no level"),
        ("[[rule]]\nallow = ['subscribe']\nfilters = ['a']\nack_level_min = 'stored'", 4, "allow `publish`"),
        ("[[rule]]\ndeny = ['publish']\nfilters = ['a']\nack_level_min = 'stored'", 4, "allow `publish`"),
        ("[[rule]]\nallow = ['connect']\nack_level_min = 'stored'", 1, "rule of its own"),
    ] {
        let (found, problem) = refused(text);
        assert!(found == line && problem.contains(part), "{text}\nline {found}: {problem}");
        let later = format!("{rule}allow = ['connect']\n{text}");
        if text.contains("[[rule]]") {
            assert_eq!(refused(&later).0, line + 3, "{later}");
        }
    }
}
