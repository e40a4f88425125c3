//! Passwords right and wrong, and files that are refused.

use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};
use weir_model::Reason;

use super::*;
use crate::authenticate::wampcra::Key;

/// A hash as cheap as argon2 allows.
fn cheap_argon2(password: &str) -> String {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
    argon2.hash_password_with_salt(password.as_bytes(), b"salt of tests").unwrap().to_string()
}

fn cheap_bcrypt(password: &str) -> String {
    bcrypt::hash(password, 4).unwrap()
}

fn account(name: &str, hash: &str, more: &str) -> String {
    format!("[[account]]\nname = \"{name}\"\npassword = \"{hash}\"\n{more}\n")
}

fn accounts(text: &str) -> Accounts {
    let book = Book::parse(text).map_err(|(line, problem)| format!("{line}: {problem}")).unwrap();
    Accounts { book: Arc::new(book), hashing: Arc::new(Hashing::new(1, 8)), scram: true }
}

fn refused(text: &str) -> String {
    match Book::parse(text) {
        Ok(_) => panic!("this file was taken: {text}"),
        Err((line, problem)) => format!("{line}: {problem}"),
    }
}

fn credentials(username: &str, password: &str) -> Credentials {
    Credentials {
        client_id: "c1".into(),
        username: Some(username.to_owned()),
        password: Some(password.as_bytes().to_vec()),
        ..Credentials::default()
    }
}

async fn asked(accounts: &Accounts, username: &str, password: &str) -> Option<Result<Identity, Reason>> {
    accounts.authenticate(&credentials(username, password)).await
}

#[tokio::test]
async fn the_right_password_is_let_in_with_its_roles() {
    let text = account("ann", &cheap_argon2("apple"), "roles = [\"device\", \"reader\"]")
        + &account("bob", &cheap_bcrypt("banana"), "");
    let accounts = accounts(&text);
    let ann = asked(&accounts, "ann", "apple").await.unwrap().unwrap();
    assert_eq!(ann.principal.user_id.as_deref(), Some("ann"));
    assert_eq!(ann.principal.client_id.as_ref(), "c1");
    assert_eq!(ann.principal.roles, [Arc::from("device"), Arc::from("reader")]);
    assert!(asked(&accounts, "bob", "banana").await.unwrap().is_ok());
    for (name, password) in [("ann", "banana"), ("ann", ""), ("bob", "apple"), ("ann", "apple ")] {
        assert_eq!(asked(&accounts, name, password).await.unwrap().unwrap_err(), Reason::BadCredentials);
    }
}

#[tokio::test]
async fn every_way_of_writing_bcrypt_is_read() {
    let hash = cheap_bcrypt("banana");
    for version in ["$2a$", "$2b$", "$2y$"] {
        let accounts = accounts(&account("bob", &hash.replacen("$2b$", version, 1), ""));
        assert!(asked(&accounts, "bob", "banana").await.unwrap().is_ok(), "{version}");
    }
}

#[tokio::test]
async fn an_unknown_name_is_left_to_the_next_even_with_somebody_elses_password() {
    let accounts = accounts(&account("ann", &cheap_argon2("apple"), ""));
    for name in ["bob", "", "ANN", "ann "] {
        assert!(asked(&accounts, name, "apple").await.is_none(), "{name}");
    }
    let without_password = Credentials { username: Some("ann".to_owned()), ..Credentials::default() };
    assert!(accounts.authenticate(&without_password).await.is_none());
    let empty = self::accounts("");
    assert!(asked(&empty, "ann", "apple").await.is_none());
}

#[tokio::test]
async fn an_unknown_name_costs_a_hash_like_a_wrong_password() {
    let accounts = accounts(&account("ann", &cheap_argon2("apple"), ""));
    assert!(accounts.book.stand_in("bob").is_some());
    // With no place to hash at, an unknown name waits just as a known one does.
    let full = Accounts { hashing: Arc::new(Hashing::new(1, 0)), ..accounts };
    let (go_on, blocked) = std::sync::mpsc::channel::<()>();
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let hashing = Arc::clone(&full.hashing);
    let holder = tokio::spawn(async move {
        let work = move || {
            let _ = begun.send(());
            let _ = blocked.recv();
        };
        hashing.run(work).await
    });
    has_begun.await.unwrap();
    for name in ["ann", "bob"] {
        assert_eq!(asked(&full, name, "apple").await.unwrap().unwrap_err(), Reason::Busy);
    }
    go_on.send(()).unwrap();
    holder.await.unwrap().unwrap();
}

#[tokio::test]
async fn sessions_end_when_the_password_or_the_roles_change_or_the_account_goes() {
    let hash = cheap_argon2("apple");
    let before = accounts(&account("ann", &hash, "roles = [\"a\"]"));
    let grant = asked(&before, "ann", "apple").await.unwrap().unwrap().grant;
    let holds = |text: String| accounts(&text).still_holds(&grant);
    assert_eq!(holds(account("ann", &hash, "roles = [\"a\"]") + &account("bob", &hash, "")), Some(true));
    assert_eq!(holds(account("ann", &cheap_argon2("pear"), "roles = [\"a\"]")), Some(false));
    assert_eq!(holds(account("ann", &hash, "roles = [\"a\", \"b\"]")), Some(false));
    assert_eq!(holds(account("ann", &hash, "")), Some(false));
    assert_eq!(holds(String::new()), Some(false));
    assert_eq!(before.still_holds(&Grant::Anonymous), None);
}

#[tokio::test]
async fn somebody_who_is_away_has_the_roles_the_file_gives_now_whatever_the_password_is() {
    let hash = cheap_argon2("apple");
    let before = accounts(&account("ann", &hash, "roles = [\"a\"]"));
    let identity = asked(&before, "ann", "apple").await.unwrap().unwrap();
    let now = |text: String| accounts(&text).now(&identity).expect("it is an account's");
    assert_eq!(
        now(account("ann", &cheap_argon2("pear"), "roles = [\"a\"]")),
        Some(identity.principal.clone())
    );
    let other = now(account("ann", &hash, "roles = [\"b\"]")).expect("somebody");
    assert_eq!(other.roles.iter().map(|role| &**role).collect::<Vec<_>>(), ["b"]);
    assert_eq!(
        (&other.user_id, &other.client_id),
        (&identity.principal.user_id, &identity.principal.client_id)
    );
    assert_eq!(now(account("bob", &hash, "")), None);
    assert!(before.now(&Identity { grant: Grant::Anonymous, ..identity.clone() }).is_none());
}

#[test]
fn what_is_wrong_in_a_file_is_said_with_its_line() {
    let good = account("ann", &cheap_argon2("apple"), "");
    assert_eq!(refused(&format!("{good}{good}")), "5: the account `ann` is there twice");
    assert!(
        refused("[[account]]\nname = \"ann\"\npassword = \"apple\"")
            .contains("`weir account passwd` makes one")
    );
    assert!(refused("[[account]]\nname = \"ann\"").contains("neither"));
    assert!(refused("[[account]]\nname = \"\"\nscram = \"\"").starts_with("1: a name has"));
    assert!(refused("[[account]]\n\nnmae = \"ann\"").starts_with("3: unknown field `nmae`"));
    assert!(refused("accounts = []").starts_with("1: unknown field"));
    assert!(refused("seed = \"short\"").contains("`seed`"));
    assert!(refused("\n\n]").starts_with("3: "));
    assert!(refused(&account("ann", "$argon2id$v=19$m=8", "")).contains("damaged"));
    assert!(
        refused(&account("ann", "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAA", "")).contains("is not a hash")
    );
    assert!(refused(&account("ann", &cheap_bcrypt("x").replace("$04$", "$31$"), "")).contains("cost 31"));
    assert!(refused(&account("ann", "$2b$04$short", "")).contains("damaged"));
    let greedy = cheap_argon2("x").replace("m=8,", "m=4194304,");
    assert!(refused(&account("ann", &greedy, "")).contains("m=4194304"));
    assert!(
        refused(&account("ann", &cheap_argon2("x"), "scram = \"SCRAM-SHA-1$1:a$b:c\""))
            .contains("SCRAM-SHA-256$")
    );
}

#[test]
fn no_error_tells_a_hash() {
    let hash = cheap_bcrypt("x").replace("$04$", "$31$");
    assert!(!refused(&account("ann", &hash, "")).contains(&hash[7..]));
}

#[tokio::test]
async fn an_account_is_in_the_realms_that_its_file_names_now() {
    let hash = cheap_argon2("apple");
    let free = accounts(&account("ann", &hash, ""));
    let bound = accounts(&account("ann", &hash, "realms = [\"plant\", \"lab\"]"));
    let identity = asked(&bound, "ann", "apple").await.unwrap().unwrap();
    assert_eq!(&*identity.realm, "plant", "where its MQTT clients are");
    let enters = |accounts: &Accounts, realm: &str| accounts.may_enter(&identity, realm);
    assert_eq!(enters(&bound, "lab"), Some(true));
    assert_eq!(enters(&bound, "default"), Some(false));
    assert_eq!(enters(&free, "default"), Some(true));
    assert_eq!(enters(&accounts(""), "plant"), Some(false));
    assert_eq!(bound.may_enter(&Identity { grant: Grant::Anonymous, ..identity.clone() }, "x"), None);
    assert_eq!(free.still_holds(&identity.grant), Some(false), "its realms are another's now");
    assert_eq!(&*asked(&free, "ann", "apple").await.unwrap().unwrap().realm, "default");
}

#[test]
fn realms_and_keys_that_are_none_are_said_with_their_line() {
    let realm = account("ann", &cheap_argon2("apple"), "realms = [\"a/b\"]");
    assert!(refused(&realm).contains("a realm that cannot be one"), "{}", refused(&realm));
    let keys = |keys: &str| format!("[[account]]\nname = \"ann\"\npublic_keys = {keys}\n");
    assert!(refused(&keys("[\"ab\"]")).contains("64 hexadecimal digits"));
    let key = format!("[\"{}\"]", "ab".repeat(32));
    let twice = keys(&key) + &keys(&key).replace("ann", "bob");
    assert_eq!(refused(&twice), "4: the account `bob` has a public key that is somebody's already");
    assert!(refused("[[account]]\nname = \"ann\"\nwampcra = \"x\"").contains("`wampcra` is not"));
}

#[test]
fn a_method_is_offered_where_somebody_has_keys_for_it() {
    let hash = cheap_argon2("apple");
    let wampcra = Key::make("apple", 4096).unwrap().to_text();
    let with_key = format!("wampcra = \"{wampcra}\"");
    let with_public = format!("public_keys = [\"{}\"]", "ab".repeat(32));
    let offers = |more: &str| {
        let accounts = accounts(&account("ann", &hash, more));
        ["SCRAM-SHA-256", "wampcra", "cryptosign", "ticket"]
            .map(|method| accounts.exchange(method, &credentials("ann", "")).is_some())
    };
    assert_eq!(offers(""), [true, false, false, false]);
    assert_eq!(offers(&with_key), [true, true, false, false]);
    assert_eq!(offers(&with_public), [true, false, true, false]);
}
