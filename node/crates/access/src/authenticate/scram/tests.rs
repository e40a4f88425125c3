//! The example of RFC 7677, whole exchanges, and what is refused.

use base64::Engine as _;

use super::*;

/// The example of RFC 7677 section 3.
const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

const SEED: &str = "seed = \"c2VlZCBvZiB0aGUgdGVzdHMsIGxvbmc=\"\n";

fn rfc_keys() -> Keys {
    Keys::derive("pencil", STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(), 4096)
}

fn book(accounts: &[(&str, &Keys)]) -> Arc<Book> {
    let tables = accounts.iter().map(|(name, keys)| {
        format!("[[account]]\nname = \"{name}\"\nroles = [\"r\"]\nscram = \"{}\"\n", keys.to_text())
    });
    let text = format!("{SEED}{}", tables.collect::<String>());
    Arc::new(Book::parse(&text).map_err(|(line, problem)| format!("{line}: {problem}")).unwrap())
}

fn scram(book: &Arc<Book>) -> Scram {
    Scram::new(Arc::clone(book), "c1".into())
}

fn sent(step: Result<Step, Refusal>) -> String {
    match step.unwrap() {
        Step::Continue(data) | Step::Done { data, .. } => String::from_utf8(data).unwrap(),
    }
}

/// The exchange of the RFC with other words of the client's.
fn refused(first: &str, last: &str) -> Refusal {
    let mut scram = scram(&book(&[("user", &rfc_keys())]));
    if let Err(refusal) = scram.challenge(first.as_bytes(), SERVER_NONCE) {
        return refusal;
    }
    let State::Final(challenge) = std::mem::replace(&mut scram.state, State::Over) else { panic!() };
    scram.check(&challenge, last.as_bytes()).unwrap_err()
}

#[test]
fn the_example_of_rfc_7677_goes_as_it_stands_there() {
    let mut scram = scram(&book(&[("user", &rfc_keys())]));
    assert_eq!(sent(scram.challenge(FIRST.as_bytes(), SERVER_NONCE)), SERVER_FIRST);
    let State::Final(challenge) = std::mem::replace(&mut scram.state, State::Over) else { panic!() };
    let done = scram.check(&challenge, FINAL.as_bytes());
    if let Ok(Step::Done { identity, .. }) = &done {
        assert_eq!(identity.principal.user_id.as_deref(), Some("user"));
        assert_eq!(identity.principal.roles, [Arc::from("r")]);
    }
    assert_eq!(sent(done), SERVER_FINAL);
}

/// A client as it should be, with what the server told it.
async fn exchange(book: &Arc<Book>, first: &str, password: &str) -> Result<Step, Reason> {
    let mut scram = scram(book);
    let Step::Continue(told) = scram.step(first.as_bytes()).await? else { panic!("a step too few") };
    let told = String::from_utf8(told).unwrap();
    let attribute = |name: &str| told.split(',').find_map(|part| part.strip_prefix(name)).unwrap();
    let (header, bare) = first.split_at(first.find(",,").unwrap() + 2);
    let without_proof = format!("c={},r={}", STANDARD.encode(header), attribute("r="));
    let message = format!("{bare},{told},{without_proof}");
    let salt = STANDARD.decode(attribute("s=")).unwrap();
    let proof = Keys::proof(password, &salt, attribute("i=").parse().unwrap(), message.as_bytes());
    let last = format!("{without_proof},p={}", STANDARD.encode(proof));
    let step = scram.step(last.as_bytes()).await;
    assert_eq!(scram.step(last.as_bytes()).await.unwrap_err(), Reason::BadCredentials, "it is over");
    step
}

#[tokio::test]
async fn a_client_with_the_password_is_let_in_and_told_a_proof() {
    let made = Keys::make("pencil", ITERATIONS_MIN).map_err(String::from).unwrap();
    let book = book(&[("user", &made), ("a,b=c", &rfc_keys())]);
    for first in ["n,,n=user,r=abc", "y,,n=user,r=abc", "n,,n=a=2Cb=3Dc,r=abc", "n,,n=user,r=abc,x=ignored"] {
        let Step::Done { identity, data } = exchange(&book, first, "pencil").await.unwrap() else { panic!() };
        assert!(data.starts_with(b"v="));
        assert_eq!(identity.principal.client_id.as_ref(), "c1");
        assert!(matches!(identity.grant, crate::Grant::Account { .. }));
    }
    for (first, password) in [("n,,n=user,r=abc", "pencil2"), ("n,,n=nobody,r=abc", "pencil")] {
        assert_eq!(exchange(&book, first, password).await.unwrap_err(), Reason::BadCredentials);
    }
}

#[test]
fn every_server_nonce_is_another() {
    assert_ne!(nonce().unwrap(), nonce().unwrap());
}

#[test]
fn an_unknown_name_is_told_the_same_salt_each_time_and_iterations_that_somebody_has() {
    let keys = rfc_keys();
    let told = |book: &Arc<Book>, name: &str| {
        sent(scram(book).challenge(format!("n,,n={name},r=a").as_bytes(), "b"))
    };
    let one = book(&[("user", &keys)]);
    // After a reload with another account the seed is the same, and so is the answer.
    let later = book(&[("user", &keys), ("other", &keys)]);
    assert_eq!(told(&one, "nobody"), told(&later, "nobody"));
    assert_ne!(told(&one, "nobody"), told(&one, "nobody2"));
    assert!(told(&one, "nobody").ends_with(",i=4096"));
    let salt = |answer: &str| answer.split(",s=").nth(1).unwrap().split(',').next().unwrap().len();
    assert_eq!(salt(&told(&one, "nobody")), salt(&told(&one, "user")));
    assert!(told(&book(&[]), "nobody").ends_with(",i=15000"));
}

#[test]
fn an_invented_salt_has_no_password() {
    let book = book(&[("user", &rfc_keys())]);
    let keys = book.invented_keys("nobody");
    let proof = Keys::proof("", &keys.salt, keys.iterations, b"message");
    assert!(keys.server_signature(b"message", &proof).is_none());
}

#[test]
fn a_tampered_final_message_is_refused() {
    let other_nonce = FINAL.replace("hNlF$k0", "hNlF$k1");
    assert_eq!(refused(FIRST, &other_nonce), Refusal::Nonce);
    let own_nonce_only = FINAL.replace(SERVER_NONCE, "");
    assert_eq!(refused(FIRST, &own_nonce_only), Refusal::Nonce);
    assert_eq!(refused(FIRST, &FINAL.replace("c=biws", "c=eSws")), Refusal::Binding);
    assert_eq!(refused("y,,n=user,r=rOprNGfwEbeRWgbNEkqO", FINAL), Refusal::Binding);
    assert_eq!(refused(FIRST, &FINAL.replace("p=dHzb", "p=eHzb")), Refusal::Proof);
    assert_eq!(refused(FIRST, &FINAL.replace(",p=", ",x=1,p=")), Refusal::Proof);
    assert_eq!(refused("n,,n=nobody,r=rOprNGfwEbeRWgbNEkqO", FINAL), Refusal::Proof);
    assert_eq!(refused(FIRST, &FINAL[..FINAL.len() - 4]), Refusal::Malformed(Malformed::Proof));
    assert_eq!(refused(FIRST, "c=biws"), Refusal::Malformed(Malformed::Form));
    assert_eq!(refused(FIRST, ""), Refusal::Malformed(Malformed::Form));
}

#[test]
fn what_is_not_offered_or_not_a_message_is_refused() {
    let why = |first: &str| match refused(first, "") {
        Refusal::Malformed(malformed) => malformed,
        other => panic!("{first}: {other}"),
    };
    assert_eq!(why("p=tls-exporter,,n=user,r=a"), Malformed::ChannelBinding);
    assert_eq!(why("n,a=root,n=user,r=a"), Malformed::AnotherUser);
    assert_eq!(why("n,,m=ext,n=user,r=a"), Malformed::Extension);
    for name in ["", "=", "=2", "=2c", "=3d", "a=00", "=2C=", "a=é"] {
        assert_eq!(why(&format!("n,,n={name},r=a")), Malformed::Name, "{name}");
    }
    for nonce in ["", "a b", "a\u{7f}", "é", &"x".repeat(257)] {
        assert_eq!(why(&format!("n,,n=user,r={nonce}")), Malformed::Nonce, "{nonce}");
    }
    for first in ["", "n", "n,", "n,,", "x,,n=user,r=a", "n,,r=a,n=user", "n,,n=user", ",,n=user,r=a"] {
        assert_eq!(why(first), Malformed::Form, "{first}");
    }
    assert_eq!(why("n,,n=us\0er,r=a"), Malformed::Text);
    assert_eq!(why(&format!("n,,n={},r=a", "x".repeat(5000))), Malformed::TooLong);
    let not_text = scram(&book(&[])).challenge(b"n,,n=\xff,r=a", "b").unwrap_err();
    assert_eq!(not_text, Refusal::Malformed(Malformed::Text));
}

#[test]
fn keys_are_read_as_they_are_written() {
    let keys = rfc_keys();
    assert!(Keys::parse(&keys.to_text()).is_ok_and(|read| read == keys));
    let text = keys.to_text();
    for bad in
        ["", "SCRAM-SHA-256", &text[..text.len() - 3], &text.replace("SHA-256", "SHA-1"), &format!("{text}$")]
    {
        assert_eq!(Keys::parse(bad).err(), Some(BadKeys::Form), "{bad}");
    }
    assert_eq!(
        Keys::parse(&text.replace("$4096:", "$1:")).err(),
        Some(BadKeys::Iterations { iterations: 1 })
    );
    assert_eq!(
        Keys::parse(&text.replace("W22ZaJ0SNY7soEsUEjb6gQ==", "AAAA")).err(),
        Some(BadKeys::Salt { bytes: 3 })
    );
    assert!(Keys::make("pencil", 4095).is_err());
}
