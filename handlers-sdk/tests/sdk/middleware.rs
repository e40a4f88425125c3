//! Code in the path of connections and messages.

use serde_json::json;
use weir_handler::testing::{client, passing};
use weir_handler::{Action, Client, Hooks, Passage, Passing, Verdict};

fn known(client: Client) -> Verdict {
    if client.user.is_some() { Verdict::Pass } else { Verdict::Refuse("who are you?".to_owned()) }
}

fn reads_only(_client: Client, action: Action, _topic: String) -> Verdict {
    if action == Action::Subscribe { Verdict::Pass } else { Verdict::Refuse("only to read".to_owned()) }
}

fn stamped(client: Client, message: Passing) -> Passage {
    message.with_json(&json!({ "by": client.client_id })).map_or(Passage::Pass, Passage::Change)
}

mod exported {
    use super::{known, reads_only, stamped};

    weir_handler::middleware!(on_deliver: stamped);
    weir_handler::middleware!(on_connect: known, on_authorize: reads_only, on_publish: stamped, on_deliver: stamped);
}

#[test]
fn a_hook_sees_who_acts() {
    assert_eq!(known(client("till")), Verdict::Pass);
    let anonymous = Client { user: None, ..client("till") };
    assert_eq!(known(anonymous), Verdict::Refuse("who are you?".to_owned()));
    assert_eq!(reads_only(client("till"), Action::Subscribe, "#".to_owned()), Verdict::Pass);
}

#[test]
fn a_hook_changes_the_payload_and_nothing_else() {
    let message = Passing { qos: 1, retain: true, ..passing("sold", &1) };
    let Passage::Change(changed) = stamped(client("till"), message.clone()) else { panic!("passed") };
    assert_eq!(changed.json::<serde_json::Value>().unwrap(), json!({ "by": "till" }));
    assert_eq!(Passing { payload: message.payload.clone(), ..changed }, message);
}

#[test]
fn hooks_that_are_not_given_are_not_there() {
    let hooks = Hooks { on_connect: Some(known), ..Hooks::NONE };
    assert!(hooks.on_connect.is_some() && hooks.on_authorize.is_none());
    assert!(hooks.on_publish.is_none() && hooks.on_deliver.is_none());
}
