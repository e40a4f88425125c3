//! Messages as they are on the wire.

use weir_wire::hyper::{Body, Command, Data, Event, Outcome, Reply, Task, code, id_entry};
use weir_wire::wamp::{Id, Raw};

use crate::{packed, read, told};

fn id(number: u64) -> Id {
    Id::new(number).unwrap()
}

fn written(reply: &Reply<'_>) -> String {
    let mut out = Vec::new();
    reply.append(&mut out);
    told(&out)
}

fn json(text: &str) -> Raw<'_> {
    Raw::check(weir_wire::wamp::Format::Json, text.as_bytes(), &weir_wire::wamp::Limits::default()).unwrap()
}

#[test]
fn a_push_is_read_with_everything_it_says() {
    let bytes = packed(
        r#"{"ft":"PUSH","id":3,"uri":["a","b"],"data":{"kv":{"x":1}},"hdr":{"h":"v"},
            "opt":{"retain":true,"when":null,"will":{"gone":1},"watch":true,"exclude_me":false,"other":9},"ack":true}"#,
    );
    let request = read(&bytes).unwrap();
    assert_eq!(request.id, Some(id(3)));
    let Command::Push { uri, body: Body::Value(value), headers: Some(headers), options, ack: true } =
        request.command
    else {
        panic!("{:?}", request.command);
    };
    assert_eq!(uri, "a.b");
    assert_eq!(value.get("x").and_then(Raw::unsigned), Some(1));
    assert_eq!(headers.get("h").and_then(Raw::text).as_deref(), Some("v"));
    assert!(options.retain && options.watch && options.when.is_some_and(Raw::is_null));
    assert_eq!(options.exclude_me, Some(false));
    assert!(options.will.is_some_and(Raw::is_map));
}

#[test]
fn a_body_is_told_by_its_kind() {
    let body = |data: &str| {
        let bytes = packed(&format!(r#"{{"ft":"PUSH","uri":["a"],"data":{data}}}"#));
        match read(&bytes).unwrap().command {
            Command::Push { body, .. } => format!("{body:?}"),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(body("null"), "Null");
    assert_eq!(body(r#"{"kv":null}"#), "Null");
    assert!(body(r#"{"kv":[1]}"#).starts_with("Value"));
    assert!(body(r#"{"args":[1]}"#).starts_with("Args"));
    assert!(body(r#"{"payload":"text"}"#).starts_with("Payload"));
}

#[test]
fn commands_are_read_by_their_ft() {
    let command = |text: &str| read(&packed(text)).map(|request| format!("{:?}", request.command)).unwrap();
    assert!(command(r#"{"ft":"LOGIN","id":1,"data":{"realm":"r"}}"#).starts_with("Login { realm: \"r\""));
    assert!(command(r#"{"ft":"ECHO","id":1,"data":{"kv":1}}"#).starts_with("Echo"));
    assert!(command(r##"{"ft":"TRACE","id":1,"uri":["a","*","#"],"opt":{}}"##).contains("a.*.#"));
    assert_eq!(command(r#"{"ft":"UNTRACE","id":1,"unr":7}"#), "Untrace { number: 7 }");
    assert!(
        command(r#"{"ft":"REG","id":1,"uri":["a"],"opt":{"simultaneousTaskLimit":-1}}"#).contains("Some(-1)")
    );
    assert_eq!(command(r#"{"ft":"UNREG","id":1,"unr":7}"#), "Unregister { number: 7 }");
    assert!(command(r#"{"ft":"CALL","id":1,"uri":["a"],"data":null,"opt":{}}"#).starts_with("Call"));
    let yielded = packed(r#"{"ft":"YIELD","qid":5,"rqt":"EMIT","data":{"kv":1}}"#);
    let Command::Yield { number: 5, outcome: Outcome::Progress, .. } = read(&yielded).unwrap().command else {
        panic!("no part of a result");
    };
    assert_eq!(command(r#"{"ft":"CONFIRM"}"#), "Confirm");
    assert_eq!(command(r#"{"ft":"GOODBYE"}"#), "Goodbye");
}

#[test]
fn replies_say_what_clients_of_fox_wamp_read() {
    assert_eq!(written(&Reply::Ack { id: id(1), qid: 7 }), r#"{"id": 1, "rsp": "ACK", "qid": 7}"#);
    assert_eq!(written(&Reply::Ok { id: id(1), qid: None, data: None }), r#"{"id": 1, "rsp": "OK"}"#);
    let data = Some(Data::Value(json("[1,\"a\"]")));
    assert_eq!(
        written(&Reply::Ok { id: id(1), qid: Some(2), data }),
        r#"{"id": 1, "rsp": "OK", "qid": 2, "data": {"kv": [1, "a"]}}"#
    );
    assert_eq!(
        written(&Reply::Emit { id: id(1), data: Data::Null }),
        r#"{"id": 1, "rsp": "EMIT", "data": nil}"#
    );
    let data = Data::Failed { code: code::INVALID_URI, message: "no" };
    assert_eq!(
        written(&Reply::Error { id: None, data }),
        r#"{"id": nil, "rsp": "ERR", "data": {"code": 111, "message": "no"}}"#
    );
    let task =
        Task { id: id(4), uri: "a.b", qid: 9, receive_progress: true, headers: None, data: Data::Text("x") };
    assert_eq!(
        written(&Reply::Task(task)),
        concat!(
            r#"{"id": 4, "rsp": "TASK", "uri": ["a", "b"], "qid": 9, "opt": {"receive_progress": true}, "#,
            r#""hdr": {}, "data": {"kv": "x"}}"#
        )
    );
}

#[test]
fn an_event_is_put_together_from_its_id_and_what_all_share() {
    let event = Event {
        uri: "a.b",
        qid: 8,
        sid: Some(5),
        retained: true,
        headers: Some(json(r#"{"h":1}"#)),
        data: Data::Value(json("{}")),
    };
    let mut out = Vec::new();
    id_entry(&mut out, id(6));
    event.append_behind_id(&mut out);
    assert_eq!(
        told(&out),
        concat!(
            r#"{"id": 6, "rsp": "EVENT", "uri": ["a", "b"], "qid": 8, "opt": {"retained": true}, "#,
            r#""hdr": {"h": 1}, "sid": 5, "data": {"kv": {}}}"#
        )
    );
}
