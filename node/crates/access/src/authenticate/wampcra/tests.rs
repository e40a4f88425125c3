//! Whole exchanges, and what is refused.

use serde_json::Value;

use super::*;

const SEED: &str = "seed = \"c2VlZCBvZiB0aGUgdGVzdHMsIGxvbmc=\"\n";

fn book(accounts: &[(&str, &Key)]) -> Arc<Book> {
    let tables = accounts.iter().map(|(name, key)| {
        format!("[[account]]\nname = \"{name}\"\nroles = [\"r\"]\nwampcra = \"{}\"\n", key.to_text())
    });
    let text = format!("{SEED}{}", tables.collect::<String>());
    Arc::new(Book::parse(&text).map_err(|(line, problem)| format!("{line}: {problem}")).unwrap())
}

fn begun(book: &Arc<Book>, name: &str) -> WampCra {
    WampCra::new(Arc::clone(book), "wamp-7".into(), Some(name.to_owned()))
}

async fn asked(exchange: &mut WampCra) -> Value {
    let Step::Continue(asked) = exchange.step(b"7").await.unwrap() else { panic!("it is over") };
    serde_json::from_slice(&asked).unwrap()
}

/// A client as it should be, with what it was told.
async fn signed(exchange: &mut WampCra, password: &str) -> Result<Step, Reason> {
    let asked = asked(exchange).await;
    let salt = asked["salt"].as_str().unwrap().to_owned();
    let key = Key::derive(password, salt, u32::try_from(asked["iterations"].as_u64().unwrap()).unwrap());
    let signature = key.sign(asked["challenge"].as_str().unwrap().as_bytes());
    exchange.step(signature.as_bytes()).await
}

#[test]
fn the_key_of_a_password_is_what_other_implementations_derive() {
    // PBKDF2-HMAC-SHA-256 of RFC 7914 section 11 ("Password", "NaCl", 80000), its first 32 bytes.
    let key = Key::derive("Password", "NaCl".to_owned(), 80_000);
    assert_eq!(key.to_text(), "PBKDF2-SHA256$80000:NaCl$TdzY9guYviGDDO5e8icB+WQaRBjQTAQUrv8Ih2s0q1Y=");
    assert_eq!(
        Key::parse(&Key::derive("p", "12345678".to_owned(), 4096).to_text()).unwrap().iterations,
        4096
    );
}

#[tokio::test]
async fn a_client_with_the_password_is_let_in_as_its_account() {
    let book = book(&[("ann", &Key::make("apple", 4096).unwrap())]);
    let mut exchange = begun(&book, "ann");
    let Step::Done { identity, data } = signed(&mut exchange, "apple").await.unwrap() else { panic!() };
    assert!(data.is_empty());
    assert_eq!(identity.principal.user_id.as_deref(), Some("ann"));
    assert_eq!(identity.principal.roles, [Arc::from("r")]);
    assert_eq!(identity.principal.client_id.as_ref(), "wamp-7");
    assert_eq!(exchange.step(b"x").await.unwrap_err(), Reason::BadCredentials, "it is over");
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_fail_alike() {
    let book = book(&[("ann", &Key::make("apple", 4096).unwrap())]);
    for (name, password) in [("ann", "pear"), ("nobody", "apple"), ("nobody", "")] {
        assert_eq!(signed(&mut begun(&book, name), password).await.unwrap_err(), Reason::BadCredentials);
    }
    let nameless = WampCra::new(book.clone(), "c".into(), None).step(b"7").await;
    assert_eq!(nameless.unwrap_err(), Reason::BadCredentials);
    for first in ["", "x", "-1", "1 2", "18446744073709551616"] {
        assert!(begun(&book, "ann").step(first.as_bytes()).await.is_err(), "{first}");
    }
    for answer in ["", "AAAA", "not base64", "\u{e9}"] {
        let mut exchange = begun(&book, "ann");
        asked(&mut exchange).await;
        assert_eq!(exchange.step(answer.as_bytes()).await.unwrap_err(), Reason::BadCredentials, "{answer}");
    }
}

#[tokio::test]
async fn a_signature_is_worth_nothing_in_another_exchange() {
    let key = Key::make("apple", 4096).unwrap();
    let book = book(&[("ann", &key)]);
    let (mut one, mut other) = (begun(&book, "ann"), begun(&book, "ann"));
    let challenge = asked(&mut one).await["challenge"].as_str().unwrap().to_owned();
    asked(&mut other).await;
    assert!(other.step(key.sign(challenge.as_bytes()).as_bytes()).await.is_err());
    assert!(one.step(key.sign(challenge.as_bytes()).as_bytes()).await.is_ok());
}

#[tokio::test]
async fn the_challenge_says_what_the_specification_wants_and_no_role_of_the_account() {
    let book = book(&[("ann", &Key::make("apple", 4096).unwrap())]);
    let asked = asked(&mut begun(&book, "ann")).await;
    let challenge: Value = serde_json::from_str(asked["challenge"].as_str().unwrap()).unwrap();
    for (name, value) in [("authid", "ann"), ("authrole", "user"), ("authmethod", "wampcra")] {
        assert_eq!(challenge[name], value);
    }
    assert_eq!((&challenge["session"], &asked["keylen"]), (&json!(7), &json!(32)));
    for name in ["nonce", "timestamp", "authprovider"] {
        assert!(challenge[name].as_str().is_some_and(|text| !text.is_empty()), "{name}");
    }
}

#[tokio::test]
async fn an_unknown_name_is_told_the_same_salt_each_time_in_the_form_that_somebody_has() {
    let key = Key::make("apple", 5000).unwrap();
    let told = async |book: &Arc<Book>, name: &str| {
        let asked = asked(&mut begun(book, name)).await;
        (asked["salt"].as_str().unwrap().to_owned(), asked["iterations"].as_u64().unwrap())
    };
    let one = book(&[("ann", &key)]);
    let later = book(&[("ann", &key), ("bob", &key)]);
    let (salt, iterations) = told(&one, "nobody").await;
    assert_eq!((salt.clone(), iterations), told(&later, "nobody").await);
    assert_eq!((salt.len(), iterations), (told(&one, "ann").await.0.len(), 5000));
    assert_ne!(salt, told(&one, "nobody2").await.0);
    let long = Key::derive("apple", "x".repeat(100), 4096);
    assert_eq!(told(&book(&[("ann", &long)]), "nobody").await.0.len(), 100);
}

#[test]
fn keys_are_read_as_they_are_written() {
    let key = Key::make("apple", 4096).unwrap();
    let text = key.to_text();
    assert!(Key::parse(&text).is_ok_and(|read| read == key));
    for bad in
        ["", "PBKDF2-SHA256", &text[..text.len() - 3], &format!("{text}$"), &text.replace("256", "512")]
    {
        assert_eq!(Key::parse(bad).err(), Some(BadKey::Form), "{bad}");
    }
    let few = text.replace("$4096:", "$1:");
    assert_eq!(Key::parse(&few).err(), Some(BadKey::Iterations { iterations: 1 }));
    let short = text.replace(&key.salt, "abc");
    assert_eq!(Key::parse(&short).err(), Some(BadKey::Salt { characters: 3 }));
    assert!(Key::make("apple", 4095).is_err());
}
