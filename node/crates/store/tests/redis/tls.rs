//! `rediss://`: certificates on both sides.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use weir_store::LevelChoice;
use weir_store::redis::{ConnectError, Password, RedisConfig, Servers, Shard};
use weir_testkit::Redis;

use crate::connect::{config, read, write};

const TLS_PORT: &str = "6380";

/// An authority and a certificate of it.
struct Files {
    own: TempDir,
}

impl Files {
    fn make(ip: &str) -> Files {
        let own = tempfile::tempdir().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate whose issuer has its own name for one that signed itself.
        authority.distinguished_name.push(DnType::CommonName, "authority");
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), ip.to_owned()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
        std::fs::write(own.path().join("ca.pem"), authority.pem()).unwrap();
        std::fs::write(own.path().join("certificate.pem"), certificate.pem()).unwrap();
        std::fs::write(own.path().join("key.pem"), key.serialize_pem()).unwrap();
        Files { own }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.own.path().join(name)
    }
}

/// A server that speaks TLS on one more port, and demands a certificate there. Its own certificate names its address,
/// which is known once it has started.
fn start() -> (Redis, Files) {
    let redis = Redis::start();
    let files = Files::make(&redis.address().ip().to_string());
    let path = |name: &str| files.path(name).to_string_lossy().into_owned();
    let (ca, certificate, key) = (path("ca.pem"), path("certificate.pem"), path("key.pem"));
    let pem = ["tls-ca-cert-file", &ca, "tls-cert-file", &certificate, "tls-key-file", &key];
    redis.ask::<()>(&[&["CONFIG", "SET"], &pem[..]].concat());
    redis.config_set("tls-port", TLS_PORT);
    (redis, files)
}

fn url(redis: &Redis) -> String {
    format!("rediss://{}:{TLS_PORT}", redis.address().ip())
}

/// Of the authority's files, and with a certificate if the client has one.
fn trusting(files: &Files, has_certificate: bool) -> RedisConfig {
    let pair = |name: &str| has_certificate.then(|| files.path(name));
    RedisConfig {
        ca_file: Some(files.path("ca.pem")),
        certificate_file: pair("certificate.pem"),
        key_file: pair("key.pem"),
        ..config()
    }
}

async fn refusal(url: &str, config: &RedisConfig) -> ConnectError {
    Servers::connect(url, LevelChoice::Auto, config).await.err().expect("a refusal")
}

#[tokio::test(flavor = "multi_thread")]
async fn with_certificates_on_both_sides_it_is_a_store_like_any_other() {
    let (redis, files) = start();
    let servers = Servers::connect(&url(&redis), LevelChoice::Auto, &trusting(&files, true)).await.unwrap();
    write(&servers, Shard::Topic(0), 1).await;
    redis.client_kill_all();
    write(&servers, Shard::Topic(0), 2).await;
    assert_eq!(read(&servers, Shard::Topic(0)).await, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_a_server_that_demands_one_is_unreachable() {
    let (redis, files) = start();
    let refused = refusal(&url(&redis), &trusting(&files, false)).await;
    assert!(matches!(refused, ConnectError::Unreachable { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_authority_is_not_believed() {
    let (redis, _files) = start();
    let others = Files::make("127.0.0.1");
    let refused = refusal(&url(&redis), &trusting(&others, true)).await;
    assert!(refused.to_string().contains("invalid peer certificate"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_files_that_cannot_be_used_are_named() {
    let (redis, files) = start();
    let missing = RedisConfig { ca_file: Some(files.path("missing.pem")), ..config() };
    assert!(refusal(&url(&redis), &missing).await.to_string().contains("missing.pem"));
    let half = RedisConfig { key_file: None, ..trusting(&files, true) };
    assert!(refusal(&url(&redis), &half).await.to_string().contains("store.redis.key_file"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_opens_and_a_wrong_one_does_not_and_is_not_shown() {
    let redis = Redis::start();
    redis.config_set("requirepass", "correct horse");
    let login = |password: &str| RedisConfig { password: Some(Password(password.to_owned())), ..config() };
    let servers = Servers::connect(&redis.url(), LevelChoice::Auto, &login("correct horse")).await.unwrap();
    write(&servers, Shard::Nodes, 1).await;
    let refused = refusal(&redis.url(), &login("battery staple")).await;
    assert!(matches!(refused, ConnectError::Unreachable { .. }), "{refused}");
    assert!(!format!("{refused} {refused:?} {:?}", login("battery staple")).contains("staple"));
}
