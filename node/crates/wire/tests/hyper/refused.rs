//! What is no message, and what is no good one.

use weir_wire::hyper::{Cut, CutError, RequestError};
use weir_wire::wamp::{Id, Limits};

use crate::{packed, read};

#[track_caller]
fn wrong(json: &str) -> String {
    let bytes = packed(json);
    match read(&bytes) {
        Err(RequestError::Wrong { id, wrong }) => format!("{:?} {wrong}", id.map(Id::get)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_wrong_is_said_to_the_id_it_is_of() {
    assert_eq!(wrong(r#"{"ft":"DANCE","id":1}"#), "Some(1) ft is none of the commands there are");
    assert_eq!(wrong(r#"{"id":1}"#), "Some(1) ft is none of the commands there are");
    assert_eq!(wrong(r#"{"ft":"ECHO"}"#), "None id is not there");
    assert_eq!(wrong(r#"{"ft":"ECHO","id":"x"}"#), "None id is not a whole number from 1 to 2^53");
    assert_eq!(wrong(r#"{"ft":"ECHO","id":0}"#), "None id is not a whole number from 1 to 2^53");
    assert_eq!(wrong(r#"{"ft":"LOGIN","id":1,"data":{}}"#), "Some(1) data.realm is not a text");
    assert_eq!(wrong(r#"{"ft":"TRACE","id":1}"#), "Some(1) uri is not a list of segments");
    assert_eq!(wrong(r#"{"ft":"TRACE","id":1,"uri":["a",1]}"#), "Some(1) uri has a segment that is no text");
    assert_eq!(wrong(r#"{"ft":"TRACE","id":1,"uri":["a.b"]}"#), "Some(1) uri has a segment with a dot");
    assert_eq!(wrong(r#"{"ft":"TRACE","id":1,"uri":[]}"#), "Some(1) uri is empty");
    assert_eq!(wrong(r#"{"ft":"TRACE","id":1,"uri":["a"],"opt":[]}"#), "Some(1) opt is not a map");
    assert_eq!(
        wrong(r#"{"ft":"TRACE","id":1,"uri":["a"],"opt":{"retained":1}}"#),
        "Some(1) opt.retained is not true or false"
    );
    assert_eq!(wrong(r#"{"ft":"UNTRACE","id":1,"unr":"a"}"#), "Some(1) unr is not a whole number");
    assert_eq!(wrong(r#"{"ft":"YIELD","qid":1,"rqt":"NO"}"#), "None rqt is not OK, EMIT or ERR");
    assert_eq!(
        wrong(r#"{"ft":"PUSH","id":1,"uri":["a"],"data":1}"#),
        "Some(1) data is not a map with kv, args or payload"
    );
    assert_eq!(wrong(r#"{"ft":"PUSH","id":1,"uri":["a"],"hdr":[1]}"#), "Some(1) hdr is not a map");
}

#[test]
fn what_is_no_map_is_no_message() {
    assert_eq!(read(&packed("[1]")), Err(RequestError::NotAMap));
    assert!(matches!(read(&[0xc1]), Err(RequestError::Broken(_))));
}

#[test]
fn lists_in_lists_beyond_the_depth_are_refused() {
    let mut bytes = vec![0x91; 100_000];
    bytes.push(0xc0);
    assert_eq!(Cut::default().find(&bytes, &Limits::default()).ok().flatten(), None);
    let deep = [&[0x91; 100][..], &[0xc0]].concat();
    assert_eq!(Cut::default().find(&deep, &Limits::default()), Ok(Some(101)));
    assert!(matches!(read(&deep), Err(RequestError::Broken(_))));
}

#[test]
fn a_length_nobody_can_send_is_refused_before_it_comes() {
    let limits = Limits { message_bytes_max: 1000, ..Limits::default() };
    let find = |bytes: &[u8]| Cut::default().find(bytes, &limits);
    assert_eq!(find(&[0xdb, 0xff, 0xff, 0xff, 0xff]), Err(CutError::TooLong { max: 1000 }));
    assert_eq!(find(&[0xdf, 0xff, 0xff, 0xff, 0xff]), Err(CutError::TooManyItems { max: 100_000 }));
    assert_eq!(find(&[0xc1]), Err(CutError::NoValue { at: 0 }));
}
