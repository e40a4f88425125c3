//! cashew's apples: each `get_apples` is answered with three, and `get_more_apples` with three the user has not had.

use cashew::{User, command};
use weir_handler::{Event, Failure, Message, kv};

/// In the order they are handed out.
const APPLES: [&str; 9] = ["red", "yellow", "blue", "green", "orange", "pink", "purple", "brown", "golden"];
/// How many at once.
const HANDFUL: usize = 3;

fn handle(message: Message) -> Result<Event, Failure> {
    let user = User::of(&message)?;
    let from = match command(&message) {
        "get_apples" => 0,
        "get_more_apples" => kv::get_json(&given(&user))?.unwrap_or(0),
        other => return Err(Failure::reject(format!("no command of mine: {other}"))),
    };
    let apples: Vec<&str> = APPLES.iter().cycle().skip(from).take(HANDFUL).copied().collect();
    kv::set_json(&given(&user), &((from + HANDFUL) % APPLES.len()))?;
    user.event("got_apples").json(&apples)
}

/// Where it is kept how many apples a user has had.
fn given(user: &User) -> String {
    format!("given/{user}")
}

weir_handler::command!(handle);

#[cfg(test)]
mod tests {
    use super::*;
    use weir_handler::testing::{message, run};

    fn ask(command: &str, user: u32) -> (String, Vec<String>) {
        let asked = message(command).json(&serde_json::json!({ "user_id": user }));
        let [event] = run(handle, asked).unwrap().try_into().unwrap();
        (event.topic, serde_json::from_slice(&event.payload).unwrap())
    }

    #[test]
    fn whoever_asks_gets_the_apples_of_cashew_s_readme() {
        for user in [68946, 12345] {
            let (topic, apples) = ask("get_apples", user);
            assert_eq!(topic, format!("{user}/got_apples"));
            assert_eq!(apples, ["red", "yellow", "blue"]);
        }
    }

    #[test]
    fn nine_apples_of_different_colours_come_in_three_handfuls() {
        let commands = ["get_apples", "get_more_apples", "get_more_apples"];
        let mut apples: Vec<_> = commands.iter().flat_map(|command| ask(command, 68946).1).collect();
        apples.sort();
        apples.dedup();
        assert_eq!(apples.len(), 9);
    }

    #[test]
    fn the_apples_of_others_are_their_own() {
        ask("get_apples", 68946);
        assert_eq!(ask("get_more_apples", 12345).1, ["red", "yellow", "blue"]);
        assert_eq!(ask("get_more_apples", 68946).1, ["green", "orange", "pink"]);
    }

    #[test]
    fn the_user_may_be_in_the_topic() {
        let events = run(handle, message("68946/get_apples").text("")).unwrap();
        assert_eq!(events[0].topic, "68946/got_apples");
    }

    #[test]
    fn a_command_of_others_is_rejected() {
        let failure = run(handle, message("68946/get_pears").text("")).unwrap_err();
        assert_eq!(failure, Failure::reject("no command of mine: get_pears"));
    }
}
