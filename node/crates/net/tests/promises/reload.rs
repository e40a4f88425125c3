//! Certificates, keys and revocation lists that change while the listeners are open.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::{HandshakeKind, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use weir_net::client::{ClientOptions, ConnectError, connect};
use weir_net::tls::{ClientAuth, Error, ServerConfig};
use weir_net::{Config, EstablishError, Established, Kind, Listener, Stream, config};

type Authority = CertifiedIssuer<'static, KeyPair>;

/// An authority and the files it fills.
struct Files {
    dir: TempDir,
    authority: Authority,
}

impl Files {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory"), authority: authority() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).expect("written");
        self.path(name)
    }

    /// The server's chain and key, and what its clients trust, of the authority there is now.
    fn write_server(&self) {
        let (chain, key) = issue(&self.authority, 1, ExtendedKeyUsagePurpose::ServerAuth);
        self.write("server.pem", &chain);
        self.write("server.key", &key);
        self.write("ca.pem", &self.authority.pem());
    }

    /// A list that revokes these serial numbers.
    fn write_crl(&self, number: u64, revoked: &[u64]) -> PathBuf {
        let now: SystemTime = SystemTime::now();
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now.into(),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: now.into(),
            next_update: (now + std::time::Duration::from_secs(3600)).into(),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.authority).expect("signed");
        self.write("revoked.pem", &list.pem().expect("pem"))
    }

    fn settings(&self, client: Option<ClientAuth>) -> ServerConfig {
        ServerConfig::from_pem(&self.path("server.pem"), &self.path("server.key"), client).expect("settings")
    }

    fn options(&self) -> ClientOptions {
        ClientOptions { ca_file: Some(self.path("ca.pem")), ..ClientOptions::default() }
    }
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("params");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed")
}

/// A certificate of this serial number and its key, both PEM.
fn issue(authority: &Authority, serial: u64, purpose: ExtendedKeyUsagePurpose) -> (String, String) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("params");
    params.serial_number = Some(SerialNumber::from(serial));
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().expect("a key");
    (params.signed_by(&key, authority).expect("signed").pem(), key.serialize_pem())
}

fn listener(kind: Kind) -> Listener {
    Listener::bind(([127, 0, 0, 1], 0).into(), kind, &Config::default()).expect("a listener")
}

/// What both ends say of one connection.
async fn meet(
    listener: &Listener,
    scheme: &str,
    options: &ClientOptions,
) -> (Result<Established, EstablishError>, Result<Stream, ConnectError>) {
    let port = listener.local_addr().expect("an address").port();
    let url = format!("{scheme}://localhost:{port}").parse().expect("a url");
    let accept = async {
        let incoming = listener.accept().await.expect("accepted");
        incoming.establish().await
    };
    let connect = async {
        let mut stream = connect(&url, options).await?;
        // QUIC's stream is there with its first byte; one that is refused may be gone already.
        let _ = stream.write_all(b".").await;
        let _ = stream.flush().await;
        Ok(stream)
    };
    tokio::join!(accept, connect)
}

#[tokio::test]
async fn a_new_certificate_is_shown_by_every_listener_from_the_next_handshake_on() {
    let mut files = Files::new();
    files.write_server();
    let tls = files.settings(None);
    let kinds = [
        ("mqtts", Kind::Tls(tls.clone())),
        ("mqtts", Kind::Https(tls.clone())),
        ("quic", Kind::Quic(tls.clone())),
    ];
    let listeners = kinds.map(|(scheme, kind)| (scheme, listener(kind)));
    for (scheme, listener) in &listeners {
        meet(listener, scheme, &files.options()).await.1.expect("connected");
    }
    assert!(!tls.reload().expect("good files"), "nothing has changed");

    let old = files.options();
    std::fs::copy(files.path("ca.pem"), files.path("old-ca.pem")).expect("copied");
    let old = ClientOptions { ca_file: Some(files.path("old-ca.pem")), ..old };
    files.authority = authority();
    files.write_server();
    assert!(tls.reload().expect("good files"));
    for (scheme, listener) in &listeners {
        meet(listener, scheme, &files.options()).await.1.expect("connected");
        assert!(meet(listener, scheme, &old).await.1.is_err(), "{scheme}: the old one is gone");
    }
}

#[tokio::test]
async fn files_that_are_no_good_leave_the_old_ones_in_use_until_they_are() {
    let mut files = Files::new();
    files.write_server();
    let tls = files.settings(None);
    let listener = listener(Kind::Tls(tls.clone()));
    let good = std::fs::read_to_string(files.path("server.key")).expect("a key");

    files.write("server.key", "not a key");
    assert!(matches!(tls.reload(), Err(Error::Empty { .. })));
    std::fs::remove_file(files.path("server.key")).expect("removed");
    assert!(matches!(tls.reload(), Err(Error::Pem { .. })));
    files.write("server.key", &KeyPair::generate().expect("a key").serialize_pem());
    assert!(matches!(tls.reload(), Err(Error::Certificate { .. })), "of another certificate");
    meet(&listener, "mqtts", &files.options()).await.1.expect("connected");

    files.write("server.key", &good);
    assert!(!tls.reload().expect("good files"), "as it was");
    files.authority = authority();
    files.write_server();
    assert!(tls.reload().expect("good files"));
    meet(&listener, "mqtts", &files.options()).await.1.expect("connected");
}

#[tokio::test]
async fn changes_are_found_by_looking() {
    let mut files = Files::new();
    files.write_server();
    let tls = files.settings(None);
    let watch = tokio::spawn(tls.clone().watch(std::time::Duration::from_millis(1)));
    let listener = listener(Kind::Tls(tls));
    files.authority = authority();
    files.write_server();
    let connecting = async { while meet(&listener, "mqtts", &files.options()).await.1.is_err() {} };
    tokio::time::timeout(std::time::Duration::from_secs(30), connecting).await.expect("found");
    watch.abort();
}

/// A listener that asks for certificates and knows a revocation list, and a client with serial number 7.
fn asking(files: &Files) -> (ServerConfig, ClientOptions) {
    files.write_server();
    let auth = ClientAuth { ca: files.path("ca.pem"), optional: false, crl: vec![files.write_crl(1, &[99])] };
    let (chain, key) = issue(&files.authority, 7, ExtendedKeyUsagePurpose::ClientAuth);
    let options = ClientOptions {
        certificate: Some(files.write("client.pem", &chain)),
        key: Some(files.write("client.key", &key)),
        ..files.options()
    };
    (files.settings(Some(auth)), options)
}

#[tokio::test]
async fn a_revoked_client_is_refused_from_the_reload_on() {
    let files = Files::new();
    let (tls, options) = asking(&files);
    for (scheme, kind) in [("mqtts", Kind::Tls(tls.clone())), ("quic", Kind::Quic(tls.clone()))] {
        files.write_crl(1, &[99]);
        tls.reload().expect("good files");
        let listener = listener(kind);
        meet(&listener, scheme, &options).await.0.expect("established");
        files.write_crl(2, &[7, 99]);
        assert!(tls.reload().expect("good files"));
        assert!(meet(&listener, scheme, &options).await.0.is_err(), "{scheme}: revoked");
    }
}

#[tokio::test]
async fn a_certificate_that_was_taken_is_believed_until_it_is_revoked_or_its_authority_goes() {
    let files = Files::new();
    let (tls, options) = asking(&files);
    let listener = listener(Kind::Tls(tls.clone()));
    let established = meet(&listener, "mqtts", &options).await.0.expect("established");
    let shown = established.client_certificate.expect("a certificate");
    let believed = || tls.believes(&shown, &established.client_authorities);
    assert!(believed());
    assert!(!tls.believes(b"garbage", &[]));
    let version = tls.version();
    files.write_crl(2, &[7, 99]);
    assert!(believed(), "nothing was read yet");
    assert!(tls.reload().expect("good files"));
    assert!(!believed() && tls.version() != version);
    files.write_crl(3, &[99]);
    assert!(tls.reload().expect("good files") && believed());
    let other = authority();
    files.write("ca.pem", &other.pem());
    tls.reload().expect("good files");
    assert!(!believed());
}

#[tokio::test]
async fn a_session_of_a_client_with_a_certificate_is_never_resumed() {
    let files = Files::new();
    let (tls, options) = asking(&files);
    let listener = listener(Kind::Tls(tls));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let connector = connector(&options, version);
        for _ in 0..2 {
            assert_eq!(handshake(&listener, &connector).await, Some(HandshakeKind::Full), "{version:?}");
        }
    }
}

/// A client that remembers sessions.
fn connector(options: &ClientOptions, version: &'static rustls::SupportedProtocolVersion) -> TlsConnector {
    fn given(path: &Option<PathBuf>) -> &Path {
        path.as_deref().expect("given")
    }
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(given(&options.ca_file)).expect("a certificate"))
        .expect("an authority");
    let chain = CertificateDer::pem_file_iter(given(&options.certificate)).expect("a file");
    let chain = chain.collect::<Result<_, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_file(given(&options.key)).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("versions")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .expect("settings");
    Arc::new(config).into()
}

/// What kind of handshake the client saw, after bytes have gone both ways.
async fn handshake(listener: &Listener, connector: &TlsConnector) -> Option<HandshakeKind> {
    let server = async {
        let mut server =
            listener.accept().await.expect("accepted").establish().await.expect("established").stream;
        assert_eq!(server.read_u8().await.expect("a byte"), b'.');
        server.write_all(b"!").await.expect("written");
        server.flush().await.expect("flushed");
    };
    let client = async {
        let tcp = tokio::net::TcpStream::connect(listener.local_addr().expect("an address"));
        let name = ServerName::try_from("localhost").expect("a name");
        let mut client = connector.connect(name, tcp.await.expect("connected")).await.expect("a handshake");
        client.write_all(b".").await.expect("written");
        assert_eq!(client.read_u8().await.expect("a byte"), b'!');
        client.get_ref().1.handshake_kind()
    };
    tokio::join!(server, client).1
}

#[test]
fn revocation_lists_without_authorities_are_a_mistake() {
    let files = Files::new();
    files.write_server();
    let config = config::Tls { client_crl: vec![files.write_crl(1, &[])], ..config::Tls::default() };
    assert!(matches!(ServerConfig::load(&config, files.dir.path()), Err(Error::LonelyCrl)));
}
