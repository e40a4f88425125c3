//! What a handler may touch, in a native test.

use weir_handler::log::Level;
use weir_handler::testing::{kv as stored, log_lines, message, run, set_config, set_kv_away, set_now};
use weir_handler::{Event, Failure, Message, clock, config, kv, log, random};

fn count(_message: Message) -> Result<Event, Failure> {
    let seen = kv::get_json::<u64>("seen")?.unwrap_or(0) + 1;
    kv::set_json("seen", &seen)?;
    Event::to("seen").json(&seen)
}

fn seen(key: &str) -> Vec<u8> {
    run(count, message("door").key(key).text("")).unwrap().remove(0).payload
}

#[test]
fn state_belongs_to_the_key() {
    assert_eq!((seen("front"), seen("front"), seen("back")), (b"1".to_vec(), b"2".to_vec(), b"1".to_vec()));
    assert_eq!(stored("front")["seen"], b"2");
    assert!(stored("side").is_empty());
}

#[test]
fn a_failed_call_writes_nothing() {
    let fails = |_: Message| {
        kv::set("seen", "99")?;
        kv::set("more", "1")?;
        Err::<(), _>(Failure::reject("no"))
    };
    seen("front");
    run(fails, message("door").key("front").text("")).unwrap_err();
    assert_eq!(stored("front").into_iter().collect::<Vec<_>>(), [("seen".to_owned(), b"1".to_vec())]);
}

#[test]
fn a_call_sees_what_it_wrote() {
    kv::set("a", [1, 2]).unwrap();
    assert_eq!(kv::get("a"), Ok(Some(vec![1, 2])));
    kv::delete("a").unwrap();
    kv::delete("a").unwrap();
    assert_eq!(kv::get("a"), Ok(None));
}

#[test]
fn a_name_has_1_to_256_bytes() {
    assert_eq!(kv::set("", "1"), Err(kv::Error::TooLarge));
    assert_eq!(kv::get(&"n".repeat(257)), Err(kv::Error::TooLarge));
    assert_eq!(kv::set(&"n".repeat(256), "1"), Ok(()));
}

#[test]
fn a_store_that_is_away_means_to_try_again() {
    set_kv_away(true);
    assert_eq!(run(count, message("door").text("")).unwrap_err(), Failure::retry());
    set_kv_away(false);
    run(count, message("door").text("")).unwrap();
}

#[test]
fn a_stored_value_that_is_something_else_is_rejected_by_name() {
    kv::set("seen", "many").unwrap();
    let Failure::Reject(reason) = count(message("door").text("")).unwrap_err() else { panic!("no reject") };
    assert!(reason.starts_with("kv: seen is not the JSON that is wanted: "), "{reason}");
}

#[test]
fn lines_are_logged_with_their_level() {
    log::info!("{} of {}", 1, 2);
    log::error!("gone");
    assert_eq!(log_lines(), [(Level::Info, "1 of 2".to_owned()), (Level::Error, "gone".to_owned())]);
    assert_eq!(log_lines(), []);
}

#[test]
fn configuration_and_time_are_what_the_test_says() {
    assert_eq!((config::get("limit"), clock::now()), (None, 0));
    set_config("limit", "7");
    set_now(1_700_000_000_000);
    assert_eq!((config::get("limit").as_deref(), clock::now()), (Some("7"), 1_700_000_000_000));
}

#[test]
fn random_numbers_are_many_and_stay_below_their_end() {
    assert_ne!(random::bytes(16), random::bytes(16));
    assert_eq!(random::bytes(1 << 20).len(), 1 << 16);
    let mut seen = [false; 6];
    (0..1000).for_each(|_| seen[random::below(6) as usize] = true);
    assert_eq!(seen, [true; 6]);
    assert_eq!(random::below(0), 0);
}
