//! A store that was written in the layout before: byte by byte, as it stood in its log.

use std::path::Path;

use serde::Serialize;
use weir_model::{Message, MessageId, UnixMillis};
use weir_store::suite::{
    append, ask_one, client, info, made, open, owner, partition, record, restore, resuming, told_from, will,
};
use weir_store::{Open, Owner, Refusal, Retention, SessionKey, SessionOp, Start, Will};

use crate::disk::{config, open_at, segments};

/// A session's row in layout 1.
#[derive(Serialize)]
struct Session {
    generation: u64,
    fence: u64,
    user_id: Option<&'static str>,
    persistent: bool,
    expiry_seconds: u32,
    will: Option<Will>,
    detached: Option<Detached>,
}

#[derive(Serialize)]
struct Detached {
    at: UnixMillis,
    sent: u64,
    expires_at: Option<UnixMillis>,
    will_at: Option<UnixMillis>,
}

/// What an ended session owes, in layout 1.
#[derive(Serialize)]
struct Outbox {
    key: SessionKey,
    generation: u64,
    id: MessageId,
    message: std::sync::Arc<Message>,
}

/// What the store knows of itself.
#[derive(Serialize)]
struct Meta {
    epoch: u64,
    reserved: u64,
    group_base: u64,
}

fn row(value: &impl Serialize) -> Vec<u8> {
    row_of(1, value)
}

fn row_of(layout: u8, value: &impl Serialize) -> Vec<u8> {
    [vec![layout], postcard::to_stdvec(value).unwrap()].concat()
}

fn session_key(name: &str) -> Vec<u8> {
    [&[3, 0, 7][..], b"default", &[0], name.as_bytes()].concat()
}

/// One record with these rows, each under a key that never had one.
fn log_record(salt: u32, sequence: u64, rows: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in rows {
        body.push(0);
        for bytes in [key, value] {
            body.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            body.extend_from_slice(bytes);
        }
    }
    let mut header = (0x5245_5757 ^ salt).to_le_bytes().to_vec();
    header.extend_from_slice(&(body.len() as u32).to_le_bytes());
    header.extend_from_slice(&sequence.to_le_bytes());
    header.extend_from_slice(&1_000u64.to_le_bytes());
    header.extend_from_slice(&(rows.len() as u32).to_le_bytes());
    let mut checksum = crc32fast::Hasher::new_with_initial(salt);
    checksum.update(&header);
    checksum.update(&body);
    header.extend_from_slice(&checksum.finalize().to_le_bytes());
    [header, body].concat()
}

/// A new store whose only segment is one of an older layout with these rows.
fn written_before(dir: &Path, layout: u8, rows: &[(Vec<u8>, Vec<u8>)]) {
    drop(open_at(&config(u64::MAX), dir));
    let segment = segments(dir).remove(0);
    let mut bytes = std::fs::read(&segment).unwrap();
    assert_eq!(bytes.len(), 24, "nothing but the header");
    bytes[7] = layout;
    let crc = crc32fast::hash(&bytes[..20]);
    bytes[20..24].copy_from_slice(&crc.to_le_bytes());
    let salt = u32::from_le_bytes(bytes[16..20].try_into().unwrap());
    bytes.extend(log_record(salt, 1, rows));
    std::fs::write(&segment, bytes).unwrap();
}

#[test]
fn a_store_of_the_layout_before_is_read_and_goes_on_in_this_one() {
    for log_bytes_max in [u64::MAX, 1] {
        let (dir, config) = (tempfile::tempdir().unwrap(), config(log_bytes_max));
        let (named, owing) = (client("named"), client("owing"));
        let detached = Detached { at: UnixMillis(7), sent: 0, expires_at: None, will_at: None };
        let session = Session {
            generation: 1,
            fence: 2,
            user_id: Some("u"),
            persistent: true,
            expiry_seconds: 60,
            will: Some(will("kept", 9)),
            detached: Some(detached),
        };
        let id = MessageId::outbox(5, 3);
        let owed = Outbox { key: owing.clone(), generation: 8, id, message: will("owed", 0).message };
        let rows = [
            (vec![2], row(&Meta { epoch: 5, reserved: 4096, group_base: 0 })),
            (session_key("named"), row(&session)),
            ([&[10][..], &3u64.to_be_bytes()].concat(), row(&owed)),
        ];
        written_before(dir.path(), 1, &rows);
        let store = open_at(&config, dir.path());
        let (_, found) = restore(&*store);
        assert_eq!(found.iter().map(|r| &r.key).collect::<Vec<_>>(), [&named, &owing]);
        let known = found[0].owner.as_ref().expect("an owner");
        assert_eq!((known.principal.user_id.as_deref(), &known.grant), (Some("u"), &None));
        assert_eq!((&*known.principal.client_id, found[0].has_will), ("named", true));
        assert_eq!(found[1].outbox[0].message, will("owed", 0).message);
        assert_eq!(found[1].outbox[0].owner, None);
        let of = |user| Open { owner: Some(owner(user)), ..resuming() };
        for other in [Some("v"), None] {
            assert_eq!(ask_one(&*store, &named, SessionOp::Open(of(other))), Err(Refusal::NotOwner));
        }
        assert!(open(&*store, &named, of(Some("u"))).present);
        drop(store);
        let store = open_at(&config, dir.path());
        let kept: Option<std::sync::Arc<Owner>> = restore(&*store).1[0].owner.clone();
        assert_eq!(kept, Some(owner(Some("u"))));
    }
}

/// A session's row in layout 2, which is as it is now.
#[derive(Serialize)]
struct SessionNow {
    generation: u64,
    fence: u64,
    owner: Option<std::sync::Arc<Owner>>,
    persistent: bool,
    expiry_seconds: u32,
    will: Option<Will>,
    detached: Option<Detached>,
}

#[test]
fn a_store_from_before_there_were_streams_is_read_and_takes_them() {
    for log_bytes_max in [u64::MAX, 1] {
        let (dir, config) = (tempfile::tempdir().unwrap(), config(log_bytes_max));
        let session = SessionNow {
            generation: 1,
            fence: 2,
            owner: Some(owner(Some("u"))),
            persistent: true,
            expiry_seconds: 60,
            will: Some(will("kept", 9)),
            detached: Some(Detached { at: UnixMillis(7), sent: 0, expires_at: None, will_at: None }),
        };
        let rows = [
            (vec![2], row_of(2, &Meta { epoch: 5, reserved: 4096, group_base: 0 })),
            (session_key("named"), row_of(2, &session)),
        ];
        written_before(dir.path(), 2, &rows);
        for round in 1..=2 {
            let store = open_at(&config, dir.path());
            let (_, found) = restore(&*store);
            assert_eq!((found.len(), &found[0].key, found[0].has_will), (1, &client("named"), true));
            assert_eq!(found[0].owner, Some(owner(Some("u"))));
            let key = made(&*store, "s", Retention::default());
            let mark = append(&*store, &key, record("a"));
            assert_eq!((mark.number, mark.position.epoch), (round, 5));
        }
        let store = open_at(&config, dir.path());
        assert_eq!(told_from(&*store, &partition("s"), Start::Earliest), ["a", "a"]);
        assert_eq!(info(&*store, &partition("s")).unwrap().ends.records, 2);
    }
}
