//! Commands in, events out.

use weir_runtime::Failure;

use crate::node::Handler;

fn events<const N: usize>(events: [(&str, &str); N]) -> Vec<(String, String)> {
    events.map(|(topic, payload)| (topic.to_owned(), payload.to_owned())).into()
}

#[tokio::test]
async fn ping_pong_answers_whoever_pinged() {
    let handler = Handler::command("ping-pong").await;
    let pong = handler.tell("68946/ping", br#"{"seq":7}"#).await.unwrap();
    assert_eq!(pong, events([("68946/pong", r#"{"seq":7}"#)]));
    let Failure::Rejected(reason) = handler.tell("ping", b"{}").await.unwrap_err() else {
        panic!("no reject")
    };
    assert!(reason.contains("missing field `seq`"), "{reason}");
}

#[tokio::test]
async fn apples_come_in_handfuls_and_nobody_s_are_mixed() {
    let handler = Handler::command("apples").await;
    let ask = async |command, user| {
        let asked = format!(r#"{{"user_id": {user}}}"#);
        handler.tell(command, asked.as_bytes()).await.unwrap()
    };
    let first = events([("68946/got_apples", r#"["red","yellow","blue"]"#)]);
    assert_eq!(ask("get_apples", 68946).await, first);
    let second = events([("68946/got_apples", r#"["green","orange","pink"]"#)]);
    assert_eq!(ask("get_more_apples", 68946).await, second);
    let other = events([("12345/got_apples", r#"["red","yellow","blue"]"#)]);
    assert_eq!(ask("get_more_apples", 12345).await, other);
}

#[tokio::test]
async fn a_contact_is_requested_accepted_and_listed() {
    let handler = Handler::command("contacts").await;
    let tell = async |command, payload: &str| handler.tell(command, payload.as_bytes()).await.unwrap();
    let asked = tell("request_contact", r#"{"user_id": 68946, "contact_id": 23412}"#).await;
    assert_eq!(asked, events([("23412/contact_requested", r#"{"user_id":"68946"}"#)]));
    let accepted = tell("accept_contact", r#"{"user_id": 23412, "contact_id": 68946}"#).await;
    assert_eq!(accepted, events([("68946/contact_approved", r#"{"user_id":"23412"}"#)]));
    let list = tell("get_contact_list", r#"{"user_id": 68946}"#).await;
    assert_eq!(list, events([("68946/contact_list", r#"["23412"]"#)]));
}

#[tokio::test]
async fn python_sends_back_what_it_hears() {
    let handler = Handler::command("python-echo").await;
    let echo = handler.tell("shop/7/say", "grüß Gott".as_bytes()).await.unwrap();
    assert_eq!(echo, events([("shop/7/say/echo", "grüß Gott")]));
    let Failure::Rejected(reason) = handler.tell("say", b"\xff").await.unwrap_err() else {
        panic!("no reject")
    };
    assert!(reason.starts_with("payload is not UTF-8: "), "{reason}");
    assert!(handler.tell("say", b"again").await.is_ok(), "a rejected message costs no instance");
}

#[tokio::test]
async fn javascript_says_it_louder() {
    let handler = Handler::command("js-upper").await;
    let loud = handler.tell("shop/7/say", "grüß Gott".as_bytes()).await.unwrap();
    assert_eq!(loud, events([("shop/7/say/loud", "GRÜSS GOTT")]));
    let failure = handler.tell("say", b"\xff").await.unwrap_err();
    assert_eq!(failure, Failure::Rejected("payload is not UTF-8".to_owned()));
    assert!(handler.tell("say", b"again").await.is_ok(), "a rejected message costs no instance");
}
