//! URI <-> topic, character by character: a bijection of all texts.
//!
//! Components joined by `.` are levels joined by `/`. A component may hold `/`, `+` and `#`, which a level
//! cannot: there they are `%2F`, `%2B`, `%23`. A level may hold `.`, which a component cannot: there it is
//! `%2E`. So that every text keeps a partner of its own, a `%` that looks like one of these, or like an escaped
//! `%`, makes room by `25` behind it (k times `25` behind the `%`, then the code):
//!
//! | what follows `%` and k times `25` | level -> component | component -> level |
//! |---|---|---|
//! | `2E` | k + 1 times | k - 1 times; the character `.` for k = 0 |
//! | `2F`, `2B`, `23` | k - 1 times; the character for k = 0 | k + 1 times |
//! | anything else | an even k one more, an odd k one less | the same |
//!
//! So a bare `%` is `%25` on the other side, both ways. Codes are read in capitals only.

use std::borrow::Cow;

/// Codes whose character stands for itself in components.
const OF_LEVELS: [(&str, char); 3] = [("2F", '/'), ("2B", '+'), ("23", '#')];

/// The code whose character stands for itself in levels.
const OF_COMPONENTS: [(&str, char); 1] = [("2E", '.')];

/// The URI of a topic.
pub fn of_topic(topic: &str) -> Cow<'_, str> {
    translate(topic, '/', '.', &OF_COMPONENTS, &OF_LEVELS)
}

/// The topic of a URI, not checked for the limits of topics.
pub fn to_topic_text(uri: &str) -> Cow<'_, str> {
    translate(uri, '.', '/', &OF_LEVELS, &OF_COMPONENTS)
}

/// `hidden` are characters of `from` that must be hidden in the other form, `shown` codes that become
/// characters there.
#[inline(always)]
fn translate<'a>(
    from: &'a str,
    separator: char,
    to_separator: char,
    hidden: &[(&str, char)],
    shown: &[(&str, char)],
) -> Cow<'a, str> {
    let is = |byte: u8, known: char| char::from(byte) == known;
    let is_special = |byte: u8| is(byte, '%') | hidden.iter().any(|(_, hidden)| is(byte, *hidden));
    let (mut is_plain, mut has_separator) = (true, false);
    for byte in from.bytes() {
        is_plain &= !is_special(byte);
        has_separator |= is(byte, separator);
    }
    // Most names have separators and nothing else that changes.
    match (is_plain, has_separator) {
        (true, false) => Cow::Borrowed(from),
        (true, true) => {
            let change = |byte| if is(byte, separator) { to_separator as u8 } else { byte };
            Cow::Owned(String::from_utf8(from.bytes().map(change).collect()).unwrap_or_default())
        }
        (false, _) => Cow::Owned(translate_special(from, (separator, to_separator), hidden, shown)),
    }
}

#[cold]
fn translate_special(
    from: &str,
    (separator, to_separator): (char, char),
    hidden: &[(&str, char)],
    shown: &[(&str, char)],
) -> String {
    let code_of = |c: char| hidden.iter().find(|(_, hidden)| *hidden == c).map(|(code, _)| *code);
    let mut to = String::with_capacity(from.len() + 8);
    let mut rest = from.chars();
    while let Some(c) = rest.next() {
        match code_of(c) {
            _ if c == separator => to.push(to_separator),
            _ if c == '%' => {
                let behind = percent(rest.as_str(), hidden, shown, &mut to);
                rest = behind.chars();
            }
            Some(code) => push_code(&mut to, 0, code),
            None => to.push(c),
        }
    }
    to
}

/// Translates what begins with a `%`, which is not in `rest` any more; returns what is behind it.
fn percent<'a>(rest: &'a str, hidden: &[(&str, char)], shown: &[(&str, char)], to: &mut String) -> &'a str {
    let behind = rest.trim_start_matches("25");
    let times = (rest.len() - behind.len()) / 2;
    for (code, _) in hidden {
        if let Some(behind) = behind.strip_prefix(code) {
            push_code(to, times + 1, code);
            return behind;
        }
    }
    for (code, character) in shown {
        if let Some(behind) = behind.strip_prefix(code) {
            match times.checked_sub(1) {
                Some(times) => push_code(to, times, code),
                None => to.push(*character),
            }
            return behind;
        }
    }
    push_code(to, times ^ 1, "");
    behind
}

fn push_code(to: &mut String, times: usize, code: &str) {
    to.push('%');
    to.extend(std::iter::repeat_n("25", times));
    to.push_str(code);
}
