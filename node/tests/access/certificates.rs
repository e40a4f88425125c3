//! Client certificates: who is named in one is let in, until it is revoked.

use std::process::Command;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use weir_bench::Client;
use weir_bench::client::{Error, Options};
use weir_testkit::Node;

use crate::scene::{Files, account, ended, message, next, node, options, publish, subscribe, until, url};
use crate::tools::{Running, program};

/// Vouches for clients, and takes it back.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    fn new(files: &Files, name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let ca = params.self_signed(&key).expect("signed");
        files.write(&format!("{name}.pem"), &ca.pem());
        Authority { params, key }
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    /// Writes `NAME.pem` and `NAME.key`.
    fn certify(&self, files: &Files, name: &str, serial: u64) {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = vec![
            SanType::DnsName(Ia5String::try_from(format!("{name}.example")).expect("a name")),
            SanType::URI(Ia5String::try_from(format!("urn:{name}")).expect("a URI")),
        ];
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer()).expect("signed");
        files.write(&format!("{name}.pem"), &certificate.pem());
        files.write(&format!("{name}.key"), &key.serialize_pem());
    }

    fn revoke(&self, files: &Files, serials: &[u64]) {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2054, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer()).expect("signed");
        files.write("revoked.pem", &list.pem().expect("a list"));
    }
}

/// A node that believes `authority.pem`, and asks for certificates of it.
fn node_of(files: &Files) -> weir_testkit::node::Builder {
    let node = node().store("memory").listen("mqtts").set("access.policy", "own");
    let node = node.set("net.tls.client_ca", files.path("authority.pem").display());
    node.set("access.certificates.identity", "subject_cn")
}

/// Shows this certificate.
fn showing(node: &Node, files: &Files, name: &str, options: Options) -> Options {
    let mut options = options;
    options.transport.ca_file = Some(node.data_dir().join("dev-tls/ca.pem"));
    options.transport.certificate = Some(files.path(&format!("{name}.pem")));
    options.transport.key = Some(files.path(&format!("{name}.key")));
    options
}

async fn connect(node: &Node, files: &Files, name: &str) -> Result<Client, Error> {
    let mut url = url(node, "mqtts");
    url.set_host(Some("localhost")).expect("a host");
    Client::connect(&url, &showing(node, files, name, options(name))).await
}

#[tokio::test]
async fn a_certificate_says_who_somebody_is() {
    let files = Files::new();
    let authority = Authority::new(&files, "authority");
    authority.certify(&files, "ann", 1);
    for (identity, user) in [("subject_cn", "ann"), ("san_dns", "ann.example"), ("san_uri", "urn:ann")] {
        let node = node_of(&files).set("access.certificates.identity", identity).start();
        let mut client = connect(&node, &files, "ann").await.expect("ann is let in");
        subscribe(&mut client, &format!("{user}/#")).await;
        publish(&mut client, &message(&format!("{user}/a"), "mine")).await.expect("taken");
        assert_eq!(next(&mut client).await.payload, b"mine");
        assert_eq!(publish(&mut client, &message("bob/a", "")).await, Err(0x87));
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_says_nothing() {
    let files = Files::new();
    Authority::new(&files, "authority");
    let other = Authority::new(&files, "other");
    other.certify(&files, "ann", 1);
    let node = node_of(&files).start();
    assert!(connect(&node, &files, "ann").await.is_err());
    assert_eq!(node.metrics().sum("weir_access_authentications_total"), 0.0);
}

#[test]
fn mosquitto_is_let_in_by_its_certificate() {
    let files = Files::new();
    Authority::new(&files, "authority").certify(&files, "ann", 1);
    let node = node_of(&files).start();
    let publish = |words: &[&str]| {
        let mut command = Command::new(program("mosquitto_pub"));
        let port = node.address("mqtts").port().to_string();
        command.args(["-h", "localhost", "-p", &port, "-V", "mqttv5", "-q", "1", "-m", "hello"]);
        command.arg("--cafile").arg(node.data_dir().join("dev-tls/ca.pem"));
        command.arg("--cert").arg(files.path("ann.pem")).arg("--key").arg(files.path("ann.key"));
        Running::start(command.args(words), None)
    };
    publish(&["-t", "ann/a"]).success();
    // mosquitto_pub ends well, and says what it was told.
    let mut refused = publish(&["-t", "bob/a"]);
    refused.end();
    assert!(refused.to_string().contains("Not authorized"), "{refused}");
}

#[tokio::test]
async fn a_revoked_certificate_ends_its_sessions_and_opens_none() {
    let files = Files::new();
    let authority = Authority::new(&files, "authority");
    authority.certify(&files, "ann", 1);
    authority.certify(&files, "bob", 2);
    authority.revoke(&files, &[]);
    let lists = format!("[\"{}\"]", files.path("revoked.pem").display());
    let node = node_of(&files).set("access.certificates.crl_files", lists).start();
    let mut ann = connect(&node, &files, "ann").await.expect("ann is let in");
    let mut bob = connect(&node, &files, "bob").await.expect("bob is let in");
    authority.revoke(&files, &[1]);
    assert_eq!(ended(&mut ann).await, 0x87);
    assert!(connect(&node, &files, "ann").await.is_err());
    publish(&mut bob, &message("bob/a", "still here")).await.expect("taken");
    connect(&node, &files, "bob").await.expect("bob is let in again");
    // What is taken back from the list may come again.
    authority.revoke(&files, &[2]);
    until(true, async || connect(&node, &files, "ann").await.is_ok()).await;
}

/// Without a certificate the next authenticator is asked.
#[tokio::test]
async fn who_has_no_certificate_may_have_a_password() {
    let files = Files::new();
    Authority::new(&files, "authority").certify(&files, "ann", 1);
    files.account(&["add", "bob", "--password-stdin"], "apple");
    let node = node_of(&files)
        .set("net.tls.client_certificate_optional", true)
        .set("access.accounts.file", files.path("accounts.toml").display())
        .start();
    let mut url = url(&node, "mqtts");
    url.set_host(Some("localhost")).expect("a host");
    let by_password = |password| {
        let mut options = account("bob", password, "bob");
        options.transport.ca_file = Some(node.data_dir().join("dev-tls/ca.pem"));
        options
    };
    let mut bob = Client::connect(&url, &by_password("apple")).await.expect("bob is let in");
    publish(&mut bob, &message("bob/a", "")).await.expect("taken");
    assert!(Client::connect(&url, &by_password("pear")).await.is_err());
    connect(&node, &files, "ann").await.expect("ann is let in");
    // A certificate does not make up for a wrong password.
    let both = showing(&node, &files, "ann", by_password("pear"));
    assert!(Client::connect(&url, &both).await.is_err());
}
