//! Lets in, and lets pass, what its settings say: who connects, which topics are published, subscribed to and received.

use weir_handler::{Action, Client, Passage, Passing, Verdict, config};

fn on_connect(client: Client) -> Verdict {
    let denied = config::get("connect.deny").unwrap_or_default();
    if names(&denied).any(|name| name == client.client_id) {
        return Verdict::Refuse("this client is not let in".to_owned());
    }
    let Some(users) = config::get("connect.users") else { return Verdict::Pass };
    let is_known = |user: &String| names(&users).any(|name| name == "*" || name == user);
    match client.user.as_ref().is_some_and(is_known) {
        true => Verdict::Pass,
        false => Verdict::Refuse("this user is not let in".to_owned()),
    }
}

fn on_authorize(client: Client, action: Action, topic: String) -> Verdict {
    let what = match action {
        Action::Publish => "publish",
        Action::Subscribe => "subscribe",
    };
    match is_allowed(what, &client, &topic) {
        true => Verdict::Pass,
        false => Verdict::Refuse(format!("{what} to {topic} is not allowed")),
    }
}

fn on_publish(_client: Client, message: Passing) -> Passage {
    let Some(most) = config::get("payload.max") else { return Passage::Pass };
    match most.trim().parse::<usize>() {
        Ok(most) if message.payload.len() <= most => Passage::Pass,
        Ok(most) => Passage::Refuse(format!("{} bytes are more than {most}", message.payload.len())),
        Err(_) => Passage::Refuse("payload.max is not a number".to_owned()),
    }
}

fn on_deliver(client: Client, message: Passing) -> Passage {
    match is_allowed("deliver", &client, &message.topic) {
        true => Passage::Pass,
        false => Passage::Refuse("not for this client".to_owned()),
    }
}

/// By `<what>.deny` and `<what>.allow`. A subscription is denied for any topic it has in common with a denied one, and
/// allowed when all its topics are.
fn is_allowed(what: &str, client: &Client, topic: &str) -> bool {
    let pattern = unshared(topic);
    let denied = config::get(&format!("{what}.deny")).unwrap_or_default();
    if names(&denied).any(|rule| meets(rule, client, pattern)) {
        return false;
    }
    match config::get(&format!("{what}.allow")) {
        Some(allowed) => names(&allowed).any(|rule| covers(rule, client, pattern)),
        None => true,
    }
}

/// `a/#, b`: separated by commas.
fn names(setting: &str) -> impl Iterator<Item = &str> {
    setting.split(',').map(str::trim).filter(|name| !name.is_empty())
}

/// The filter of a shared subscription without `$share/<name>/`.
fn unshared(topic: &str) -> &str {
    topic.strip_prefix("$share/").and_then(|rest| rest.split_once('/')).map_or(topic, |(_, filter)| filter)
}

/// A level of a rule, which is no wildcard whatever stands for the client; `None` = it has nothing that stands there.
fn level<'a>(rule: &'a str, client: &'a Client) -> Option<&'a str> {
    match rule {
        "{client_id}" => Some(&client.client_id),
        "{user}" => client.user.as_deref(),
        level => Some(level),
    }
}

/// Whether all topics of `pattern` are topics of `rule`.
fn covers(rule: &str, client: &Client, pattern: &str) -> bool {
    if hides(rule, pattern) {
        return false;
    }
    let (mut rule, mut pattern) = (rule.split('/'), pattern.split('/'));
    loop {
        match (rule.next(), pattern.next()) {
            (Some("#"), _) | (None, None) => return true,
            (None, _) | (_, None) | (_, Some("#")) => return false,
            (Some("+"), Some(_)) => {}
            (Some(_), Some("+")) => return false,
            (Some(given), Some(asked)) if level(given, client) == Some(asked) => {}
            _ => return false,
        }
    }
}

/// Whether some topic of `pattern` is a topic of `rule`.
fn meets(rule: &str, client: &Client, pattern: &str) -> bool {
    if hides(rule, pattern) || hides(pattern, rule) {
        return false;
    }
    let (mut rule, mut pattern) = (rule.split('/'), pattern.split('/'));
    loop {
        match (rule.next(), pattern.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (None, _) | (_, None) => return false,
            (Some("+"), _) => {}
            (Some(given), Some(asked)) => match level(given, client) {
                Some(_) if asked == "+" => {}
                Some(given) if given == asked => {}
                _ => return false,
            },
        }
    }
}

/// Wildcards at the beginning do not reach what begins with `$` (MQTT-4.7.2-1).
fn hides(wild: &str, other: &str) -> bool {
    wild.starts_with(['+', '#']) && other.starts_with('$')
}

weir_handler::middleware!(
    on_connect: on_connect,
    on_authorize: on_authorize,
    on_publish: on_publish,
    on_deliver: on_deliver
);

#[cfg(test)]
mod tests {
    use super::*;
    use weir_handler::testing::{client, passing, set_config};

    fn may(action: Action, topic: &str) -> bool {
        on_authorize(client("eve"), action, topic.to_owned()) == Verdict::Pass
    }

    #[test]
    fn without_settings_everything_passes() {
        assert_eq!(on_connect(client("eve")), Verdict::Pass);
        assert!(may(Action::Publish, "a") && may(Action::Subscribe, "#"));
        assert_eq!(on_publish(client("eve"), passing("a", "x")), Passage::Pass);
        assert_eq!(on_deliver(client("eve"), passing("a", "x")), Passage::Pass);
    }

    #[test]
    fn only_the_users_that_are_named_are_let_in() {
        set_config("connect.users", "ann, bob");
        assert_eq!(on_connect(client("ann")), Verdict::Pass);
        assert!(matches!(on_connect(client("eve")), Verdict::Refuse(_)));
        let nobody = Client { user: None, ..client("ann") };
        assert!(matches!(on_connect(nobody.clone()), Verdict::Refuse(_)));
        set_config("connect.users", "*");
        assert_eq!(on_connect(client("eve")), Verdict::Pass);
        assert!(matches!(on_connect(nobody), Verdict::Refuse(_)));
    }

    #[test]
    fn what_is_denied_is_denied_whatever_is_allowed() {
        set_config("publish.allow", "a/#");
        set_config("publish.deny", "a/secret/#");
        assert!(may(Action::Publish, "a/b") && may(Action::Publish, "a"));
        assert!(!may(Action::Publish, "a/secret/x") && !may(Action::Publish, "b"));
    }

    #[test]
    fn a_subscription_is_allowed_when_all_its_topics_are_and_denied_when_one_is() {
        set_config("subscribe.allow", "a/+/#");
        assert!(may(Action::Subscribe, "a/b") && may(Action::Subscribe, "$share/g/a/+"));
        assert!(
            !may(Action::Subscribe, "a/#") && !may(Action::Subscribe, "#") && !may(Action::Subscribe, "+/b")
        );
        set_config("subscribe.deny", "a/secret");
        assert!(may(Action::Subscribe, "a/b") && !may(Action::Subscribe, "a/+"));
    }

    #[test]
    fn a_level_may_stand_for_who_asks_and_is_never_a_wildcard_then() {
        set_config("subscribe.allow", "to/{client_id}/#, of/{user}");
        let asks = |client: Client, topic: &str| {
            on_authorize(client, Action::Subscribe, topic.to_owned()) == Verdict::Pass
        };
        let eve = Client { client_id: "eve".to_owned(), ..client("eve") };
        assert!(asks(eve.clone(), "to/eve/x") && asks(eve.clone(), "of/eve"));
        assert!(!asks(eve, "to/ann/x"));
        let wild = Client { client_id: "+".to_owned(), user: None, ..client("eve") };
        assert!(!asks(wild.clone(), "to/ann/x") && !asks(wild.clone(), "to/+/x") && !asks(wild, "of/eve"));
    }

    #[test]
    fn what_is_too_large_and_what_is_for_others_ends_here() {
        set_config("payload.max", "3");
        assert_eq!(on_publish(client("eve"), passing("a", &1)), Passage::Pass);
        assert!(matches!(on_publish(client("eve"), passing("a", "long")), Passage::Refuse(_)));
        set_config("deliver.deny", "secret");
        assert!(matches!(on_deliver(client("eve"), passing("secret", &1)), Passage::Refuse(_)));
        assert_eq!(on_deliver(client("eve"), passing("open", &1)), Passage::Pass);
    }
}
