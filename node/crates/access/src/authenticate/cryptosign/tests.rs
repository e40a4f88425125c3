//! Whole exchanges with keys of our own, and what is refused.

use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::Value;

use super::*;

/// The first test of RFC 8032 section 7.1, and another.
const SEEDS: [&str; 2] = [
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
];

fn pair(at: usize) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&bytes_of(SEEDS[at]).unwrap()).unwrap()
}

fn public(pair: &Ed25519KeyPair) -> String {
    digits(pair.public_key().as_ref())
}

fn book(accounts: &[(&str, &[&str])]) -> Arc<Book> {
    let tables = accounts.iter().map(|(name, keys)| {
        format!("[[account]]\nname = \"{name}\"\nroles = [\"r\"]\npublic_keys = {keys:?}\n")
    });
    let text = tables.collect::<String>();
    Arc::new(Book::parse(&text).map_err(|(line, problem)| format!("{line}: {problem}")).unwrap())
}

fn begun(book: &Arc<Book>, name: Option<&str>) -> Cryptosign {
    Cryptosign::new(Arc::clone(book), "wamp-7".into(), name.map(str::to_owned))
}

async fn asked(exchange: &mut Cryptosign, key: &str) -> String {
    let Step::Continue(asked) = exchange.step(key.as_bytes()).await.unwrap() else { panic!("it is over") };
    let asked: Value = serde_json::from_slice(&asked).unwrap();
    asked["challenge"].as_str().unwrap().to_owned()
}

fn answer(pair: &Ed25519KeyPair, challenge: &str) -> String {
    digits(pair.sign(&bytes_of(challenge).unwrap()).as_ref()) + challenge
}

/// A client that says this key and signs with that one.
async fn signed(exchange: &mut Cryptosign, says: &str, signs: &Ed25519KeyPair) -> Result<Step, Reason> {
    let challenge = asked(exchange, says).await;
    exchange.step(answer(signs, &challenge).as_bytes()).await
}

#[tokio::test]
async fn the_holder_of_a_key_is_let_in_as_its_account_with_and_without_its_name() {
    let (pair, other) = (pair(0), pair(1));
    assert_eq!(public(&pair), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    let book = book(&[("ann", &[&public(&other), &public(&pair).to_uppercase()])]);
    for name in [Some("ann"), None] {
        let mut exchange = begun(&book, name);
        let Step::Done { identity, .. } = signed(&mut exchange, &public(&pair), &pair).await.unwrap() else {
            panic!()
        };
        assert_eq!(identity.principal.user_id.as_deref(), Some("ann"));
        assert_eq!(identity.principal.roles, [Arc::from("r")]);
        assert_eq!(exchange.step(b"x").await.unwrap_err(), Reason::BadCredentials, "it is over");
    }
}

#[tokio::test]
async fn everybody_is_asked_and_who_has_not_the_key_fails_alike() {
    let (own, other) = (pair(0), pair(1));
    let book = book(&[("ann", &[&public(&own)])]);
    let cases = [
        (Some("ann"), public(&own), &other),
        (Some("ann"), public(&other), &other),
        (Some("bob"), public(&own), &own),
        (Some("nobody"), public(&other), &other),
        (None, public(&other), &other),
    ];
    for (name, says, signs) in cases {
        let failed = signed(&mut begun(&book, name), &says, signs).await;
        assert_eq!(failed.unwrap_err(), Reason::BadCredentials, "{name:?}");
    }
}

#[tokio::test]
async fn a_signature_of_anything_else_is_refused() {
    let pair = pair(0);
    let book = book(&[("ann", &[&public(&pair)])]);
    let old = asked(&mut begun(&book, None), &public(&pair)).await;
    let tampered = [
        |pair: &Ed25519KeyPair, _: &str, old: &str| answer(pair, old),
        |pair: &Ed25519KeyPair, now: &str, old: &str| answer(pair, old)[..128].to_owned() + now,
        |pair: &Ed25519KeyPair, now: &str, _: &str| answer(pair, now)[..128].to_owned(),
        |pair: &Ed25519KeyPair, now: &str, _: &str| answer(pair, now) + "00",
        |_: &Ed25519KeyPair, now: &str, _: &str| "00".repeat(64) + now,
        |_: &Ed25519KeyPair, now: &str, _: &str| now.to_owned(),
        |_: &Ed25519KeyPair, _: &str, _: &str| "\u{e9}".repeat(192),
        |_: &Ed25519KeyPair, _: &str, _: &str| String::new(),
    ];
    for (at, tamper) in tampered.iter().enumerate() {
        let mut exchange = begun(&book, Some("ann"));
        let challenge = asked(&mut exchange, &public(&pair)).await;
        let answer = tamper(&pair, &challenge, &old);
        assert_eq!(exchange.step(answer.as_bytes()).await.unwrap_err(), Reason::BadCredentials, "{at}");
    }
}

#[tokio::test]
async fn what_is_no_public_key_is_refused_before_anything_is_asked() {
    let book = book(&[("ann", &[&public(&pair(0))])]);
    for key in ["", "ab", &"g".repeat(64), &"a".repeat(63), &"a".repeat(66), &"\u{e9}".repeat(32)] {
        let refused = begun(&book, Some("ann")).step(key.as_bytes()).await;
        assert_eq!(refused.unwrap_err(), Reason::BadCredentials, "{key}");
    }
}
