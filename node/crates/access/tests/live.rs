//! What changes while clients are connected: files, keys of an address, accounts, revocations.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use weir_access::config::{Config, Method, Secret};
use weir_access::{Access, Credentials, Identity, LoadError};
use weir_model::Reason;

/// `apple`, as cheaply hashed as bcrypt allows.
fn apple() -> String {
    bcrypt::hash("apple", 4).unwrap()
}

fn credentials(username: &str, password: &[u8]) -> Credentials {
    Credentials {
        client_id: "c1".into(),
        username: Some(username.to_owned()),
        password: Some(password.to_vec()),
        ..Credentials::default()
    }
}

async fn ask(access: &Access, username: &str, password: &[u8]) -> Result<Identity, Reason> {
    access.authenticate(&credentials(username, password)).await
}

fn config() -> Config {
    Config { policy: "open".to_owned(), ..Config::default() }
}

fn write_accounts(dir: &Path, names: &[&str]) {
    let hash = apple();
    let tables = names.iter().map(|name| format!("[[account]]\nname = \"{name}\"\npassword = \"{hash}\"\n"));
    std::fs::write(dir.join("accounts.toml"), tables.collect::<String>()).unwrap();
}

fn with_accounts() -> Config {
    let mut config = config();
    config.accounts.file = Some("accounts.toml".into());
    config
}

/// A key set server that answers what it is told to.
struct Server {
    url: String,
    answer: Arc<Mutex<String>>,
    asked: watch::Receiver<usize>,
}

impl Server {
    fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new(String::new()));
        let (counts, asked) = watch::channel(0);
        let answers = Arc::clone(&answer);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                    head.push(byte[0]);
                }
                counts.send_modify(|count| *count += 1);
                let _ = stream.write_all(answers.lock().unwrap().as_bytes());
            }
        });
        Server { url, answer, asked }
    }

    fn serve(&self, keys: &[(&str, &KeyPair)]) {
        let keys: Vec<Value> = keys.iter().map(|(kid, pair)| jwk(kid, pair)).collect();
        self.answer(&ok(&json!({"keys": keys}).to_string()));
    }

    fn answer(&self, answer: &str) {
        *self.answer.lock().unwrap() = answer.to_owned();
    }

    fn config(&self) -> Config {
        let mut config = config();
        config.jwt.jwks_url = Some(self.url.clone());
        config
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn pair() -> KeyPair {
    KeyPair::generate_for(&PKCS_ED25519).unwrap()
}

fn jwk(kid: &str, pair: &KeyPair) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": URL_SAFE_NO_PAD.encode(pair.der_bytes())})
}

fn token(kid: &str, pair: &KeyPair) -> Vec<u8> {
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::EdDSA) };
    let key = EncodingKey::from_ed_der(&pair.serialize_der());
    jsonwebtoken::encode(&header, &json!({"user_id": "ann"}), &key).unwrap().into_bytes()
}

fn refused(config: &Config, dir: &Path) -> String {
    Access::load(config, dir).map(|_| ()).unwrap_err().to_string()
}

#[tokio::test]
async fn keys_of_an_address_rotate_and_stay_while_it_fails() {
    let server = Server::start();
    let (old, new) = (pair(), pair());
    server.serve(&[("old", &old)]);
    let access = Access::load(&server.config(), Path::new("")).unwrap();
    let by_old = ask(&access, "JWT", &token("old", &old)).await.unwrap();
    assert_eq!(ask(&access, "JWT", &token("new", &new)).await.unwrap_err(), Reason::BadCredentials);

    for failure in
        ["", "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", &ok("{}"), &ok("{\"keys\": []}"), &ok("<html>")]
    {
        server.answer(failure);
        let error = access.reload().await.unwrap_err();
        assert!(error.to_string().contains(&server.url), "{error}");
        assert!(access.still_holds(&by_old) && ask(&access, "JWT", &token("old", &old)).await.is_ok());
    }

    server.serve(&[("old", &old), ("new", &new)]);
    access.reload().await.unwrap();
    assert!(access.still_holds(&by_old) && ask(&access, "JWT", &token("new", &new)).await.is_ok());
    server.serve(&[("new", &new)]);
    access.reload().await.unwrap();
    assert!(!access.still_holds(&by_old), "a key that is gone takes its sessions along");
    assert_eq!(ask(&access, "JWT", &token("old", &old)).await.unwrap_err(), Reason::BadCredentials);
}

#[tokio::test]
async fn a_set_that_is_too_long_or_never_ends_is_refused() {
    let server = Server::start();
    let mut config = server.config();
    config.jwt.jwks_bytes_max = 1000;
    let key = pair();
    server.serve(&[("k", &key)]);
    let access = Access::load(&config, Path::new("")).unwrap();
    server.answer(&format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(100_000)));
    assert!(matches!(access.reload().await, Err(LoadError::Fetch { .. })));
    assert!(ask(&access, "JWT", &token("k", &key)).await.is_ok());
}

#[tokio::test]
async fn while_no_key_was_ever_fetched_clients_are_told_to_come_again() {
    let server = Server::start();
    server.answer("HTTP/1.1 503 Later\r\ncontent-length: 0\r\n\r\n");
    let key = pair();
    let access = Access::load(&server.config(), Path::new("")).unwrap();
    assert_eq!(ask(&access, "JWT", &token("k", &key)).await.unwrap_err(), Reason::Unavailable);
    assert_eq!(ask(&access, "JWT", b"nonsense").await.unwrap_err(), Reason::BadCredentials);
    server.serve(&[("k", &key)]);
    let mut changes = access.changes();
    let watching = tokio::spawn(Arc::clone(&access).watch());
    tokio::time::timeout(Duration::from_secs(30), changes.changed()).await.unwrap().unwrap();
    assert!(ask(&access, "JWT", &token("k", &key)).await.is_ok());
    watching.abort();
}

#[tokio::test]
async fn the_same_keys_again_change_nothing() {
    let server = Server::start();
    let key = pair();
    server.serve(&[("k", &key)]);
    let mut config = server.config();
    config.jwt.jwks_refresh_seconds = 1;
    let access = Access::load(&config, Path::new("")).unwrap();
    let watching = tokio::spawn(Arc::clone(&access).watch());
    let mut asked = server.asked.clone();
    tokio::time::timeout(Duration::from_secs(30), asked.wait_for(|count| *count >= 3))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(access.version(), 0);
    watching.abort();
}

#[tokio::test]
async fn an_address_behind_tls_is_believed_by_the_named_authority_only() {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let key = pair();
    let body = ok(&json!({"keys": [jwk("k", &key)]}).to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], own.signing_key.serialize_der().try_into().unwrap())
        .unwrap();
    let tls = Arc::new(tls);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(Arc::clone(&tls)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream.unwrap());
            // Who does not believe us hangs up.
            if stream.read(&mut [0; 4096]).is_ok() {
                let _ = stream.write_all(body.as_bytes());
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ca.pem"), own.cert.pem()).unwrap();
    let mut config = config();
    config.jwt.jwks_url = Some(format!("https://localhost:{port}/keys"));
    let strangers = Access::load(&config, dir.path()).unwrap();
    assert_eq!(ask(&strangers, "JWT", &token("k", &key)).await.unwrap_err(), Reason::Unavailable);
    config.jwt.jwks_ca_file = Some("ca.pem".into());
    let access = Access::load(&config, dir.path()).unwrap();
    assert!(ask(&access, "JWT", &token("k", &key)).await.is_ok());
}

#[tokio::test]
async fn a_removed_account_ends_its_sessions_and_a_broken_file_ends_none() {
    let dir = tempfile::tempdir().unwrap();
    write_accounts(dir.path(), &["ann", "bob"]);
    let access = Access::load(&with_accounts(), dir.path()).unwrap();
    let ann = ask(&access, "ann", b"apple").await.unwrap();
    let bob = ask(&access, "bob", b"apple").await.unwrap();

    std::fs::write(dir.path().join("accounts.toml"), "[[account]]\nname = \"ann\"\npassword = 7\n").unwrap();
    let error = access.reload().await.unwrap_err().to_string();
    assert!(error.contains("accounts.toml:3"), "{error}");
    assert!(access.still_holds(&ann) && ask(&access, "ann", b"apple").await.is_ok());
    std::fs::remove_file(dir.path().join("accounts.toml")).unwrap();
    assert!(matches!(access.reload().await, Err(LoadError::Unreadable { .. })));
    assert!(access.still_holds(&ann));

    let kept = apple();
    std::fs::write(
        dir.path().join("accounts.toml"),
        format!("[[account]]\nname = \"bob\"\npassword = \"{kept}\"\n"),
    )
    .unwrap();
    access.reload().await.unwrap();
    assert!(!access.still_holds(&ann) && !access.still_holds(&bob), "ann is gone, bob has another hash");
    assert_eq!(ask(&access, "ann", b"apple").await.unwrap_err(), Reason::BadCredentials);
    assert!(ask(&access, "bob", b"apple").await.is_ok());
}

#[tokio::test]
async fn a_changed_file_is_noticed_without_being_told() {
    let dir = tempfile::tempdir().unwrap();
    write_accounts(dir.path(), &["ann"]);
    let mut config = with_accounts();
    config.reload_seconds = 1;
    let access = Access::load(&config, dir.path()).unwrap();
    let mut changes = access.changes();
    let watching = tokio::spawn(Arc::clone(&access).watch());
    // Written aside and moved into place, as `weir account` does it.
    let aside = tempfile::tempdir_in(dir.path()).unwrap();
    write_accounts(aside.path(), &["bob"]);
    std::fs::rename(aside.path().join("accounts.toml"), dir.path().join("accounts.toml")).unwrap();
    tokio::time::timeout(Duration::from_secs(30), changes.changed()).await.unwrap().unwrap();
    assert!(ask(&access, "bob", b"apple").await.is_ok() && ask(&access, "ann", b"apple").await.is_err());
    watching.abort();
}

#[tokio::test]
async fn tokens_with_unknown_keys_do_not_keep_files_from_being_read() {
    let server = Server::start();
    server.serve(&[("k", &pair())]);
    let dir = tempfile::tempdir().unwrap();
    write_accounts(dir.path(), &["ann"]);
    let mut config = server.config();
    config.accounts.file = Some("accounts.toml".into());
    config.reload_seconds = 1;
    let access = Access::load(&config, dir.path()).unwrap();
    let mut changes = access.changes();
    let watching = tokio::spawn(Arc::clone(&access).watch());
    write_accounts(dir.path(), &["bob"]);
    let unknown = token("unknown", &pair());
    let noticed = async {
        let mut often = tokio::time::interval(Duration::from_millis(50));
        loop {
            tokio::select! {
                changed = changes.changed() => return changed.unwrap(),
                _ = often.tick() => assert!(ask(&access, "JWT", &unknown).await.is_err()),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), noticed).await.unwrap();
    assert!(ask(&access, "bob", b"apple").await.is_ok());
    assert_eq!(*server.asked.borrow(), 1, "one fetch at start, and the next not before its pause");
    watching.abort();
}

#[tokio::test]
async fn one_broken_file_does_not_keep_the_others_from_changing() {
    let dir = tempfile::tempdir().unwrap();
    write_accounts(dir.path(), &["ann"]);
    std::fs::write(dir.path().join("secret"), "0123456789abcdef0123456789abcdef\n").unwrap();
    let mut config = with_accounts();
    config.jwt.secret_file = Some("secret".into());
    let access = Access::load(&config, dir.path()).unwrap();
    std::fs::write(dir.path().join("secret"), "").unwrap();
    write_accounts(dir.path(), &["bob"]);
    let error = access.reload().await.unwrap_err().to_string();
    assert!(error.ends_with("secret: the secret is empty"), "{error}");
    assert!(ask(&access, "bob", b"apple").await.is_ok() && ask(&access, "ann", b"apple").await.is_err());
    let claims = json!({"user_id": "cy"});
    let key = EncodingKey::from_secret(b"0123456789abcdef0123456789abcdef");
    let token = jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap();
    assert!(ask(&access, "JWT", token.as_bytes()).await.is_ok(), "the old secret stays");
}

#[tokio::test]
async fn the_policy_changes_live_and_a_broken_one_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    write_accounts(dir.path(), &["ann"]);
    let policy = dir.path().join("policy.toml");
    std::fs::write(&policy, "[[rule]]\nallow = [\"publish\", \"subscribe\"]\nfilters = [\"a/#\"]\n").unwrap();
    let mut config = with_accounts();
    config.policy = "policy.toml".to_owned();
    let access = Access::load(&config, dir.path()).unwrap();
    let ann = ask(&access, "ann", b"apple").await.unwrap();
    assert!(access.may_receive(&ann.principal, "a/b"));
    std::fs::write(&policy, "[[rule]]\nallow = \"everything\"\n").unwrap();
    assert!(matches!(access.reload().await, Err(LoadError::Policy(_))));
    assert!(access.may_receive(&ann.principal, "a/b"));
    std::fs::write(&policy, "").unwrap();
    access.reload().await.unwrap();
    assert!(!access.may_receive(&ann.principal, "a/b"), "an empty policy denies");
    assert!(access.still_holds(&ann), "nobody's account changed");
}

#[tokio::test]
async fn the_chain_is_asked_in_its_order_and_ends_in_a_refusal() {
    let dir = tempfile::tempdir().unwrap();
    write_accounts(dir.path(), &["ann"]);
    let mut config = with_accounts();
    config.jwt.secret = Some(Secret("0123456789abcdef0123456789abcdef".to_owned()));
    let key = EncodingKey::from_secret(b"0123456789abcdef0123456789abcdef");
    let token = jsonwebtoken::encode(&Header::default(), &json!({"user_id": "cy"}), &key).unwrap();
    for order in [vec![], vec![Method::Jwt, Method::Accounts], vec![Method::Accounts, Method::Jwt]] {
        config.order = order;
        let access = Access::load(&config, dir.path()).unwrap();
        let cy = ask(&access, "JWT", token.as_bytes()).await.unwrap();
        assert_eq!(cy.principal.user_id.as_deref(), Some("cy"));
        assert!(ask(&access, "ann", b"apple").await.is_ok());
        for (name, password) in [("ann", "pear"), ("nobody", "apple"), ("JWT", "apple"), ("", "")] {
            assert_eq!(ask(&access, name, password.as_bytes()).await.unwrap_err(), Reason::BadCredentials);
        }
        let nothing = Credentials { local: true, ..Credentials::default() };
        assert_eq!(access.authenticate(&nothing).await.unwrap_err(), Reason::BadCredentials);
    }
}

#[tokio::test]
async fn scram_is_offered_for_accounts_where_it_is_enabled() {
    let dir = tempfile::tempdir().unwrap();
    write_accounts(dir.path(), &["ann"]);
    let mut config = with_accounts();
    let access = Access::load(&config, dir.path()).unwrap();
    assert!(access.exchange("SCRAM-SHA-256", &Credentials::default()).is_some());
    for other in ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "scram-sha-256", "PLAIN", ""] {
        assert!(access.exchange(other, &Credentials::default()).is_none(), "{other}");
    }
    config.scram.enabled = false;
    let access = Access::load(&config, dir.path()).unwrap();
    assert!(access.exchange("SCRAM-SHA-256", &Credentials::default()).is_none());
}

#[test]
fn settings_that_do_not_fit_together_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.order = vec![Method::Accounts];
    assert!(refused(&config, dir.path()).contains("`access.order`: `accounts` is not configured"));
    config.order.clear();
    config.jwt.secret = Some(Secret("0123456789abcdef0123456789abcdef".to_owned()));
    config.accounts.file = Some("accounts.toml".into());
    config.order = vec![Method::Jwt];
    assert!(refused(&config, dir.path()).contains("`accounts` is configured and left out"));
    config.order = vec![Method::Jwt, Method::Accounts, Method::Jwt];
    assert!(refused(&config, dir.path()).contains("`jwt` is there twice"));
    config.order.clear();
    assert!(refused(&config, dir.path()).contains("accounts.toml"));
    config.accounts.file = None;
    config.jwt.jwks_url = Some("file:///etc/passwd".to_owned());
    assert!(refused(&config, dir.path()).contains("`access.jwt.jwks_url`"));
    config.jwt.jwks_url = None;
    config.certificates.crl_files = vec!["x.crl".into()];
    assert!(refused(&config, dir.path()).contains("`access.certificates.crl_files`"));
    config.certificates.crl_files.clear();
    config.policy = "nowhere.toml".to_owned();
    assert!(refused(&config, dir.path()).contains("nowhere.toml"));
}

#[test]
fn a_secret_is_neither_printed_nor_shown() {
    let mut config = config();
    config.jwt.secret = Some(Secret("do not tell".to_owned()));
    assert!(!format!("{config:?}").contains("do not tell"));
    assert!(!serde_json::to_string(&config).unwrap().contains("do not tell"));
}
