//! Certificates: made once, kept privately, asked for and told.

use std::os::unix::fs::PermissionsExt;

use rcgen::{CertificateParams, KeyPair};
use tokio::io::AsyncWriteExt;
use weir_net::client::{ClientOptions, ConnectError, connect};
use weir_net::tls::{ClientAuth, Error, ServerConfig, dev_certificate};
use weir_net::{Config, Kind, Listener, Transport, config};

use crate::server::Server;

#[test]
fn the_certificate_for_localhost_is_made_once_with_a_private_key() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = dev_certificate(dir.path()).expect("made");
    let key = std::fs::read(&first.key).expect("a key");
    let mode = std::fs::metadata(&first.key).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(dev_certificate(dir.path()).expect("found"), first);
    assert_eq!(std::fs::read(&first.key).expect("a key"), key);
    assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 1);
}

#[test]
fn processes_that_make_it_at_the_same_time_agree() {
    let dir = tempfile::tempdir().expect("a directory");
    let make = || dev_certificate(dir.path()).map(|made| std::fs::read(made.ca).expect("a file"));
    let made: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let kept = std::fs::read(dev_certificate(dir.path()).expect("found").ca).expect("a file");
    for ca in made {
        assert!(ca.expect("made") == kept);
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 1);
}

#[tokio::test]
async fn a_server_nobody_vouches_for_is_trusted_only_by_the_insecure() {
    let server = Server::new(Transport::Tls);
    let stranger = tempfile::tempdir().expect("a directory");
    let ca = dev_certificate(stranger.path()).expect("made").ca;
    let url = server.url().parse().expect("a url");
    let options = ClientOptions { ca_file: Some(ca), ..ClientOptions::default() };
    let refuse = async { server.listener.accept().await.expect("accepted").establish().await };
    let (established, connected) = tokio::join!(refuse, connect(&url, &options));
    assert!(established.is_err());
    assert!(matches!(connected, Err(ConnectError::TlsHandshake { .. })));
    let options = ClientOptions { insecure: true, ..ClientOptions::default() };
    let accept = async { server.listener.accept().await.expect("accepted").establish().await };
    let (established, connected) = tokio::join!(accept, connect(&url, &options));
    established.expect("established");
    connected.expect("connected");
}

#[tokio::test]
async fn a_client_certificate_is_asked_for_checked_and_told() {
    let server = Server::new(Transport::Tls);
    let key = KeyPair::generate().expect("a key");
    let client = CertificateParams::new(Vec::new()).expect("params").self_signed(&key).expect("signed");
    let (client_pem, key_pem) = (server.dir().join("client.pem"), server.dir().join("client.key"));
    std::fs::write(&client_pem, client.pem()).expect("written");
    std::fs::write(&key_pem, key.serialize_pem()).expect("written");
    let made = dev_certificate(server.dir()).expect("found");
    let auth = ClientAuth { ca: client_pem.clone(), optional: false, crl: Vec::new() };
    let tls = ServerConfig::from_pem(&made.certificate, &made.key, Some(auth)).expect("settings");
    let any = ([127, 0, 0, 1], 0).into();
    let listener = Listener::bind(any, Kind::Tls(tls), &Config::default()).expect("bound");
    let port = listener.local_addr().expect("an address").port();
    let url = format!("mqtts://localhost:{port}").parse().expect("a url");
    let named = ClientOptions { certificate: Some(client_pem), key: Some(key_pem), ..server.options() };
    for (options, shown) in [(named, true), (server.options(), false)] {
        let accept = async { listener.accept().await.expect("accepted").establish().await };
        let talk = async {
            if let Ok(mut stream) = connect(&url, &options).await {
                let _ = stream.write_all(b".").await;
            }
        };
        let (established, ()) = tokio::join!(accept, talk);
        let told = established.ok().and_then(|established| established.client_certificate);
        assert_eq!(told, shown.then(|| client.der().to_vec()));
    }
}

#[test]
fn half_a_pair_and_files_without_certificates_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let half = config::Tls { key: Some("key.pem".into()), ..config::Tls::default() };
    let error = ServerConfig::load(&half, dir.path()).expect_err("half");
    assert_eq!(error.to_string(), "tls.certificate and tls.key go together, only tls.key is set");
    let made = dev_certificate(dir.path()).expect("made");
    let error = ServerConfig::from_pem(&made.key, &made.key, None).expect_err("no certificate");
    assert!(matches!(error, Error::Empty { what: "certificate", .. }), "{error}");
    let error = ServerConfig::from_pem(&dir.path().join("none"), &made.key, None).expect_err("no file");
    assert!(error.to_string().contains("none"), "{error}");
    ServerConfig::load(&config::Tls::default(), dir.path()).expect("the one for localhost");
}
