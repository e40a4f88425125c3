//! A certificate for localhost, made on first use, so that TLS can be tried without preparation.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::Error;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Some systems refuse server certificates that are valid for longer.
const VALID: Duration = Duration::from_secs(825 * DAY.as_secs());
/// A certificate older than this is replaced.
const RENEWED_AFTER: Duration = Duration::from_secs(800 * DAY.as_secs());
/// The directory of the files, inside the one named by the caller.
const DIRECTORY: &str = "dev-tls";

/// The files of a certificate for localhost, 127.0.0.1 and ::1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevCertificate {
    /// The authority for clients to trust. Its key is not kept: it signed this one certificate.
    pub ca: PathBuf,
    /// The chain for the server to show.
    pub certificate: PathBuf,
    /// The server's private key, readable by its owner only.
    pub key: PathBuf,
}

/// Finds the certificate for localhost in `dir`, or makes it.
///
/// All three files appear at once, by renaming their directory; of two processes doing so at the
/// same moment one wins and both use its files. After 800 days a new authority and certificate are made.
///
/// # Errors
/// The certificate cannot be made, or `dir` cannot be written.
pub fn dev_certificate(dir: &Path) -> Result<DevCertificate, Error> {
    let home = dir.join(DIRECTORY);
    if !is_fresh(&home) {
        let failed = |source| Error::Write { path: home.clone(), source };
        fs::create_dir_all(dir).map_err(failed)?;
        let made = write_new(dir)?;
        replace(&made, &home).map_err(failed)?;
    }
    Ok(DevCertificate::within(&home))
}

impl DevCertificate {
    fn within(home: &Path) -> Self {
        Self { ca: home.join("ca.pem"), certificate: home.join("certificate.pem"), key: home.join("key.pem") }
    }
}

fn is_fresh(home: &Path) -> bool {
    let written = fs::metadata(DevCertificate::within(home).key).and_then(|meta| meta.modified());
    written.is_ok_and(|at| at.elapsed().unwrap_or_default() < RENEWED_AFTER)
}

/// Makes authority, certificate and key in a new directory inside `dir`; says which.
fn write_new(dir: &Path) -> Result<PathBuf, Error> {
    let (ca, chain, key) = generate().map_err(|source| Error::Generate { source })?;
    let unique = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let made = dir.join(format!(".{DIRECTORY}.{}.{}", std::process::id(), unique.as_nanos()));
    let failed = |source| Error::Write { path: made.clone(), source };
    DirBuilder::new().mode(0o700).create(&made).map_err(failed)?;
    let files = DevCertificate::within(&made);
    write(&files.ca, &ca, 0o644).map_err(failed)?;
    write(&files.certificate, &chain, 0o644).map_err(failed)?;
    write(&files.key, &key, 0o600).map_err(failed)?;
    Ok(made)
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Puts the new directory in its place; keeps another process's if that came first.
fn replace(made: &Path, home: &Path) -> io::Result<()> {
    if home.exists() && !is_fresh(home) {
        fs::remove_dir_all(home)?;
    }
    match fs::rename(made, home) {
        Err(_) if is_fresh(home) => fs::remove_dir_all(made),
        renamed => renamed,
    }
}

/// The authority, the chain and the leaf's key, all PEM.
fn generate() -> Result<(String, String, String), rcgen::Error> {
    let now = SystemTime::now();
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.distinguished_name.push(DnType::CommonName, "Weir development authority");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let mut leaf = CertificateParams::new(["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec())?;
    leaf.distinguished_name.push(DnType::CommonName, "Weir on localhost");
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    for params in [&mut ca, &mut leaf] {
        params.not_before = (now - DAY).into();
        params.not_after = (now + VALID).into();
    }
    let issuer = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let leaf = leaf.signed_by(&key, &issuer)?;
    Ok((issuer.pem(), leaf.pem() + &issuer.pem(), key.serialize_pem()))
}
