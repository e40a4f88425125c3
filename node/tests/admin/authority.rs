//! An authority for those who administer, and what its certificates are shown with.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use weir_admin::client::Target;
use weir_testkit::Node;

use crate::scene::target;

/// Vouches for those who administer.
pub struct Authority {
    dir: tempfile::TempDir,
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    pub fn new() -> Authority {
        let dir = tempfile::tempdir().expect("a directory");
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "operators");
        let key = KeyPair::generate().expect("a key");
        std::fs::write(dir.path().join("ca.pem"), params.self_signed(&key).expect("signed").pem())
            .expect("written");
        Authority { dir, params, key }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the certificate and key of somebody of this name.
    pub fn certify(&self, name: &str) {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(serial(name));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer()).expect("signed");
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).expect("written");
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).expect("written");
    }

    /// Writes the list, `revoked.pem`, of those whose certificates are good no more.
    pub fn revoke(&self, names: &[&str]) {
        let now = SystemTime::now();
        let revoked = names.iter().map(|name| RevokedCertParams {
            serial_number: serial(name),
            revocation_time: now.into(),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: now.into(),
            next_update: (now + Duration::from_secs(3600)).into(),
            crl_number: SerialNumber::from(1 + names.len() as u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer()).expect("signed").pem().expect("pem");
        std::fs::write(self.path("revoked.pem"), list).expect("written");
    }

    pub fn shown(&self, target: Target, name: &str) -> Target {
        let file = |kind: &str| Some(self.path(&format!("{name}.{kind}")));
        Target { certificate: file("pem"), key: file("key"), ..target }
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }
}

fn serial(name: &str) -> SerialNumber {
    SerialNumber::from_slice(name.as_bytes())
}

/// How to reach a node with TLS.
pub fn secure(node: &Node, ca: &Path) -> Target {
    let server = format!("https://localhost:{}", node.address("admin").port());
    Target { server, ca_file: Some(ca.to_owned()), ..target(node) }
}
