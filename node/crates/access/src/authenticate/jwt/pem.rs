//! Public keys in PEM: as `PUBLIC KEY` (RFC 7468 section 13), as `RSA PUBLIC KEY`, or inside a certificate.

use std::io::Cursor;

use x509_parser::der_parser::asn1_rs::FromDer as _;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
};
use x509_parser::pem::Pem;
use x509_parser::prelude::X509Certificate;
use x509_parser::public_key::{PublicKey, RSAPublicKey};
use x509_parser::x509::SubjectPublicKeyInfo;

use super::keys::{BadKey, Key, Material};

/// Every key of a PEM text, and the line at which what cannot be one begins.
///
/// # Errors
/// The line (from 1) and what is wrong there; a text without a key is wrong in line 1.
pub(super) fn keys(text: &[u8]) -> Result<Vec<Key>, (usize, BadKey)> {
    let mut keys = Vec::new();
    let mut starts = lines_of_begin(text);
    for block in Pem::iter_from_reader(Cursor::new(text)) {
        let line = starts.next().unwrap_or(1);
        let unreadable = BadKey::Kind { kind: "PEM that cannot be read".to_owned() };
        let block = block.map_err(|_| (line, unreadable))?;
        let key = material(&block).and_then(|material| Key::new(&material, None, None));
        keys.push(key.map_err(|problem| (line, problem))?);
    }
    if keys.is_empty() {
        return Err((1, BadKey::Kind { kind: "text without a PEM block".to_owned() }));
    }
    Ok(keys)
}

fn lines_of_begin(text: &[u8]) -> impl Iterator<Item = usize> {
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    lines.filter_map(|(at, line)| line.starts_with(b"-----BEGIN").then_some(at + 1))
}

fn material(block: &Pem) -> Result<Material, BadKey> {
    let broken = |kind| move |_| BadKey::Invalid { kind };
    match block.label.as_str() {
        "PUBLIC KEY" => {
            let (_, info) = SubjectPublicKeyInfo::from_der(&block.contents).map_err(broken("public"))?;
            of_info(&info)
        }
        "CERTIFICATE" => {
            let (_, certificate) =
                X509Certificate::from_der(&block.contents).map_err(broken("certificate's"))?;
            of_info(certificate.public_key())
        }
        "RSA PUBLIC KEY" => {
            let (_, key) = RSAPublicKey::from_der(&block.contents).map_err(broken("RSA"))?;
            Ok(rsa(&key))
        }
        label if label.ends_with("PRIVATE KEY") => Err(BadKey::Private),
        label => Err(BadKey::Kind { kind: format!("`{label}`") }),
    }
}

fn of_info(info: &SubjectPublicKeyInfo<'_>) -> Result<Material, BadKey> {
    let point = || info.subject_public_key.data.to_vec();
    let algorithm = &info.algorithm.algorithm;
    if *algorithm == OID_PKCS1_RSAENCRYPTION {
        return match info.parsed() {
            Ok(PublicKey::RSA(key)) => Ok(rsa(&key)),
            _ => Err(BadKey::Invalid { kind: "RSA" }),
        };
    }
    if *algorithm == OID_SIG_ED25519 {
        return Ok(Material::Ed25519(point()));
    }
    if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = info.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
        match curve {
            Some(curve) if curve == OID_EC_P256 => return Ok(Material::P256(point())),
            Some(curve) if curve == OID_NIST_EC_P384 => return Ok(Material::P384(point())),
            _ => {}
        }
    }
    Err(BadKey::Kind { kind: format!("{algorithm}") })
}

fn rsa(key: &RSAPublicKey<'_>) -> Material {
    Material::Rsa { modulus: key.modulus.to_vec(), exponent: key.exponent.to_vec() }
}
