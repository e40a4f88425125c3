//! Names out of certificates, and lists of those that do not count any more.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

use super::*;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn device(
    ca: &CertifiedIssuer<'_, KeyPair>,
    serial: u64,
    change: impl FnOnce(&mut CertificateParams),
) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "ann");
    params.serial_number = Some(SerialNumber::from(serial));
    params.not_after = date_time_ymd(2100, 1, 1);
    change(&mut params);
    params.signed_by(&KeyPair::generate().unwrap(), ca).unwrap().der().to_vec()
}

fn revocations(ca: &CertifiedIssuer<'_, KeyPair>, serials: &[u64]) -> rcgen::CertificateRevocationList {
    let revoked = serials.iter().map(|serial| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: date_time_ymd(2024, 1, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(2100, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(ca).unwrap()
}

fn certificates(identity: CertificateIdentity, revoked: Revoked) -> Certificates {
    let config = config::Certificates { roles: vec!["device".to_owned()], ..config::Certificates::default() };
    Certificates::new(&config, identity, Arc::new(revoked))
}

fn by_cn() -> Certificates {
    certificates(CertificateIdentity::SubjectCn, Revoked::default())
}

fn judged(certificates: &Certificates, der: &[u8]) -> Result<Identity, Refusal> {
    certificates.judge(der, &"c1".into(), NOW)
}

/// Loads lists as files.
fn loaded(files: &[&[u8]]) -> Result<Revoked, String> {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<_> = (0..files.len()).map(|at| std::path::PathBuf::from(format!("{at}.crl"))).collect();
    for (name, content) in names.iter().zip(files) {
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    Revoked::load(&names, dir.path()).map_err(|error| error.to_string())
}

#[test]
fn the_configured_name_of_the_certificate_is_the_user() {
    let ca = authority("ca");
    let der = device(&ca, 1, |params| {
        params.subject_alt_names = vec![
            SanType::URI("spiffe://example/ann".try_into().unwrap()),
            SanType::DnsName("ann.example".try_into().unwrap()),
            SanType::DnsName("second.example".try_into().unwrap()),
            SanType::Rfc822Name("ann@example.org".try_into().unwrap()),
        ];
    });
    for (identity, name) in [
        (CertificateIdentity::SubjectCn, "ann"),
        (CertificateIdentity::SanDns, "ann.example"),
        (CertificateIdentity::SanUri, "spiffe://example/ann"),
        (CertificateIdentity::SanEmail, "ann@example.org"),
    ] {
        let found = judged(&certificates(identity, Revoked::default()), &der).unwrap();
        assert_eq!(found.principal.user_id.as_deref(), Some(name));
        assert_eq!(found.principal.roles, [Arc::from("device")]);
        assert_eq!(found.principal.client_id.as_ref(), "c1");
    }
}

#[test]
fn a_certificate_without_that_name_is_refused() {
    let ca = authority("ca");
    let plain = device(&ca, 1, |_| {});
    assert_eq!(
        judged(&certificates(CertificateIdentity::SanUri, Revoked::default()), &plain).unwrap_err(),
        Refusal::Nameless
    );
    let nameless = device(&ca, 1, |params| params.distinguished_name = rcgen::DistinguishedName::new());
    assert_eq!(judged(&by_cn(), &nameless).unwrap_err(), Refusal::Nameless);
    for name in ["", "a\0b", "a\nb", &"x".repeat(1025)] {
        let odd = device(&ca, 1, |params| params.distinguished_name.push(DnType::CommonName, name));
        assert_eq!(judged(&by_cn(), &odd).unwrap_err(), Refusal::Nameless, "{name:?}");
    }
    assert_eq!(judged(&by_cn(), b"no certificate").unwrap_err(), Refusal::Malformed);
    assert_eq!(judged(&by_cn(), &plain[..plain.len() / 2]).unwrap_err(), Refusal::Malformed);
}

#[test]
fn a_session_ends_with_its_certificate() {
    let ca = authority("ca");
    let later =
        judged(&by_cn(), &device(&ca, 1, |params| params.not_after = date_time_ymd(2030, 1, 1))).unwrap();
    assert_eq!(later.expires_at, Some(UnixMillis(1_893_456_000_000)));
    let over = device(&ca, 1, |params| params.not_after = date_time_ymd(2020, 1, 1));
    assert_eq!(judged(&by_cn(), &over).unwrap_err(), Refusal::Expired);
}

#[test]
fn a_revoked_certificate_is_refused_and_its_live_session_ends() {
    let (ca, other) = (authority("ca"), authority("other"));
    // A serial whose first bit is set gets a zero before it in DER.
    for serial in [1, 0x80, 0xff00, 7_000_000_000] {
        let der = device(&ca, serial, |_| {});
        let grant = judged(&by_cn(), &der).unwrap().grant;
        assert_eq!(by_cn().still_holds(&grant), Some(true));
        let list = revocations(&ca, &[serial, 99]);
        for file in [list.der().to_vec(), list.pem().unwrap().into_bytes()] {
            let now = certificates(CertificateIdentity::SubjectCn, loaded(&[&file]).unwrap());
            assert_eq!(judged(&now, &der).unwrap_err(), Refusal::Revoked);
            assert_eq!(now.still_holds(&grant), Some(false));
        }
        let of_other =
            loaded(&[revocations(&other, &[serial]).der(), revocations(&ca, &[98]).der()]).unwrap();
        let now = certificates(CertificateIdentity::SubjectCn, of_other);
        assert!(judged(&now, &der).is_ok(), "the same number of another authority is somebody else");
        assert_eq!(now.still_holds(&grant), Some(true));
    }
    assert_eq!(by_cn().still_holds(&Grant::Open), None);
}

#[test]
fn what_is_not_a_complete_list_is_refused() {
    let ca = authority("ca");
    assert!(loaded(&[b"nonsense"]).err().unwrap().contains("not a revocation list"));
    assert!(loaded(&[b""]).err().unwrap().contains("not a revocation list"));
    assert!(loaded(&[ca.pem().as_bytes()]).err().unwrap().contains("no `X509 CRL`"));
    let partial = CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(2100, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: Some(rcgen::CrlIssuingDistributionPoint {
            distribution_point: rcgen::CrlDistributionPoint { uris: vec!["http://x/".to_owned()] },
            scope: Some(rcgen::CrlScope::UserCertsOnly),
        }),
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let partial = partial.signed_by(&ca).unwrap();
    assert!(loaded(&[partial.der()]).err().unwrap().contains("only complete lists"));
    let missing = Revoked::load(&["nowhere.crl".into()], std::path::Path::new("/nonexistent")).err().unwrap();
    assert!(missing.to_string().contains("/nonexistent/nowhere.crl"));
}

#[tokio::test]
async fn who_shows_no_certificate_is_left_to_others() {
    assert!(by_cn().authenticate(&Credentials::default()).await.is_none());
    let bad = Credentials { certificate: Some(Arc::from(b"x".as_slice())), ..Credentials::default() };
    assert_eq!(by_cn().authenticate(&bad).await.unwrap().unwrap_err(), Reason::BadCredentials);
}
