//! Passwords in addresses, left out of what is shown.

/// The text with the password of every address in it (`scheme://user:password@host`) replaced.
pub fn without_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let end = after.find(['/', '"', '\'', ' ', '\n', '?', '#', ',']).unwrap_or(after.len());
        rest = after;
        // A password may hold an `@`: the last one ends it.
        if let Some((credentials, _)) = after[..end].rsplit_once('@')
            && let Some((user, _)) = credentials.split_once(':')
        {
            shown.push_str(user);
            shown.push_str(":***");
            rest = &after[credentials.len()..];
        }
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_left_out_and_nothing_else() {
        let cases = [
            ("url = \"redis://:pass@host:6379\"", "url = \"redis://:***@host:6379\""),
            ("rediss://u:p@ss@h/0 and http://a:80/b@c:d", "rediss://u:***@h/0 and http://a:80/b@c:d"),
            ("redis+sentinel://u:p@a:1,b:2/main", "redis+sentinel://u:***@a:1,b:2/main"),
            ("https://idp.example/keys", "https://idp.example/keys"),
            ("none", "none"),
        ];
        for (text, shown) in cases {
            assert_eq!(without_secrets(text), shown);
        }
    }
}
