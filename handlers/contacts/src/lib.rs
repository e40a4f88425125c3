//! cashew's contacts: one user asks another to be a contact, that one accepts, and each may list their own.

use std::collections::BTreeSet;

use cashew::{User, command};
use serde::{Deserialize, Serialize};
use weir_handler::{Event, Failure, Message, kv};

/// `request_contact` and `accept_contact`: the other one.
#[derive(Deserialize)]
struct Other {
    contact_id: User,
}

/// Of one user, kept under `contacts/<user>`.
#[derive(Default, Serialize, Deserialize)]
struct Book {
    contacts: BTreeSet<User>,
    /// Who has asked and was not answered yet.
    requests: BTreeSet<User>,
}

/// `<user>/contact_requested` and `<user>/contact_approved`: who it is about.
#[derive(Serialize)]
struct About<'a> {
    user_id: &'a User,
}

fn handle(message: Message) -> Result<Option<Event>, Failure> {
    let user = User::of(&message)?;
    match command(&message) {
        "request_contact" => request(&user, &other(&message)?),
        "accept_contact" => accept(&user, &other(&message)?).map(Some),
        "get_contact_list" => user.event("contact_list").json(&Book::of(&user)?.contacts).map(Some),
        unknown => Err(Failure::reject(format!("no command of mine: {unknown}"))),
    }
}

/// The other one hears of it, once.
fn request(user: &User, wanted: &User) -> Result<Option<Event>, Failure> {
    if user == wanted {
        return Err(Failure::reject(format!("{user} asks themselves")));
    }
    let mut book = Book::of(wanted)?;
    if book.contacts.contains(user) || !book.requests.insert(user.clone()) {
        return Ok(None);
    }
    book.keep(wanted)?;
    wanted.event("contact_requested").json(&About { user_id: user }).map(Some)
}

/// Both are contacts of each other, and the one who asked hears of it.
fn accept(user: &User, asked: &User) -> Result<Event, Failure> {
    let mut book = Book::of(user)?;
    if !book.requests.remove(asked) {
        return Err(Failure::reject(format!("{asked} has not asked {user}")));
    }
    let mut other = Book::of(asked)?;
    book.contacts.insert(asked.clone());
    other.contacts.insert(user.clone());
    book.keep(user)?;
    other.keep(asked)?;
    asked.event("contact_approved").json(&About { user_id: user })
}

fn other(message: &Message) -> Result<User, Failure> {
    message.json::<Other>()?.contact_id.checked()
}

impl Book {
    fn of(user: &User) -> Result<Book, Failure> {
        Ok(kv::get_json(&format!("contacts/{user}"))?.unwrap_or_default())
    }

    fn keep(&self, user: &User) -> Result<(), Failure> {
        Ok(kv::set_json(&format!("contacts/{user}"), self)?)
    }
}

weir_handler::command!(handle);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use weir_handler::testing::{kv, message, run, set_kv_away};

    /// What a command makes: topics and payloads.
    fn tell(command: &str, payload: Value) -> Vec<(String, Value)> {
        let read = |event: Event| (event.topic, serde_json::from_slice(&event.payload).unwrap());
        run(handle, message(command).json(&payload)).unwrap().into_iter().map(read).collect()
    }

    fn ask(user: u32, contact: u32) -> Vec<(String, Value)> {
        tell("request_contact", json!({ "user_id": user, "contact_id": contact }))
    }

    fn list(user: u32) -> Value {
        let [(topic, list)] = tell("get_contact_list", json!({ "user_id": user })).try_into().unwrap();
        assert_eq!(topic, format!("{user}/contact_list"));
        list
    }

    #[test]
    fn a_contact_is_requested_accepted_and_listed() {
        assert_eq!(list(68946), json!([]));
        assert_eq!(
            ask(68946, 23412),
            [("23412/contact_requested".to_owned(), json!({ "user_id": "68946" }))]
        );
        assert_eq!(list(68946), json!([]), "not before it is accepted");
        let accepted = tell("accept_contact", json!({ "user_id": 23412, "contact_id": 68946 }));
        assert_eq!(accepted, [("68946/contact_approved".to_owned(), json!({ "user_id": "23412" }))]);
        assert_eq!((list(68946), list(23412)), (json!(["23412"]), json!(["68946"])));
        assert_eq!(list(12345), json!([]));
    }

    #[test]
    fn asking_again_disturbs_nobody() {
        ask(68946, 23412);
        assert_eq!(ask(68946, 23412), []);
    }

    #[test]
    fn nobody_accepts_who_has_not_asked() {
        let accept = json!({ "user_id": 23412, "contact_id": 68946 });
        let failure = run(handle, message("accept_contact").json(&accept)).unwrap_err();
        assert_eq!(failure, Failure::reject("68946 has not asked 23412"));
        assert_eq!(kv("").len(), 0);
    }

    #[test]
    fn a_store_that_is_away_is_tried_again() {
        set_kv_away(true);
        let failure = run(handle, message("get_contact_list").json(&json!({ "user_id": 1 }))).unwrap_err();
        assert_eq!(failure, Failure::retry());
    }

    #[test]
    fn a_contact_that_is_no_user_is_rejected() {
        let failure =
            run(handle, message("1/request_contact").json(&json!({ "contact_id": "2/#" }))).unwrap_err();
        assert_eq!(failure, Failure::reject(r#""2/#" is no user id"#));
    }
}
