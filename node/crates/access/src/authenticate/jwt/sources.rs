//! Where keys come from: the configuration itself, and the files it names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::jwks::{self, Origin};
use super::keys::{BadKey, Key, Material};
use super::pem;
use crate::config;
use crate::load::{LoadError, read};

/// Bytes of a file with a secret or with PEM keys.
const KEY_FILE_BYTES_MAX: u64 = 256 << 10;

/// A shorter secret can be guessed from one token (RFC 7518 section 3.2 demands as many bits as the hash has).
const SECRET_BYTES_GOOD: usize = 32;

/// The files that are read.
pub(crate) fn files(config: &config::Jwt, dir: &Path) -> Vec<PathBuf> {
    let named = [&config.secret_file, &config.public_key_file, &config.jwks_file, &config.jwks_ca_file];
    named.into_iter().flatten().map(|path| dir.join(path)).collect()
}

/// All keys but those of an address.
///
/// # Errors
/// The first one that cannot be read or is not a key, with its file and line.
pub(crate) fn keys(config: &config::Jwt, dir: &Path) -> Result<Vec<Arc<Key>>, LoadError> {
    let mut keys = Vec::new();
    if let Some(secret) = &config.secret {
        keys.push(of_secret(secret.0.as_bytes(), || "access.jwt.secret".to_owned())?);
    }
    if let Some(path) = &config.secret_file {
        let path = dir.join(path);
        let secret = read(&path, KEY_FILE_BYTES_MAX)?;
        keys.push(of_secret(without_line_end(&secret), || path.display().to_string())?);
    }
    if let Some(text) = &config.public_key {
        keys.extend(of_pem(text.as_bytes(), "access.jwt.public_key")?);
    }
    if let Some(path) = &config.public_key_file {
        let path = dir.join(path);
        keys.extend(of_pem(&read(&path, KEY_FILE_BYTES_MAX)?, &path.display().to_string())?);
    }
    if let Some(path) = &config.jwks_file {
        let path = dir.join(path);
        let text = read(&path, config.jwks_bytes_max)?;
        keys.extend(of_set(&text, Origin::File, &path.display().to_string())?);
    }
    Ok(keys.into_iter().map(Arc::new).collect())
}

/// The keys of a set that was fetched.
///
/// # Errors
/// As for a file; the place is the address.
pub(super) fn fetched(text: &[u8], url: &str) -> Result<Vec<Arc<Key>>, LoadError> {
    Ok(of_set(text, Origin::Address, url)?.into_iter().map(Arc::new).collect())
}

fn of_secret(secret: &[u8], place: impl Fn() -> String) -> Result<Key, LoadError> {
    let key = Key::new(&Material::Secret(secret.to_vec()), None, None);
    let key = key.map_err(|problem| malformed(&place(), &problem))?;
    if secret.len() < SECRET_BYTES_GOOD {
        tracing::warn!(
            place = place(),
            bytes = secret.len(),
            "the secret of tokens is so short that it can be guessed; {SECRET_BYTES_GOOD} random bytes are safe"
        );
    }
    Ok(key)
}

fn of_pem(text: &[u8], place: &str) -> Result<Vec<Key>, LoadError> {
    pem::keys(text)
        .map_err(|(line, problem): (usize, BadKey)| malformed(&format!("{place}:{line}"), &problem))
}

fn of_set(text: &[u8], origin: Origin, place: &str) -> Result<Vec<Key>, LoadError> {
    jwks::keys(text, origin).map_err(|problem| malformed(place, &problem))
}

fn malformed(place: &str, problem: &dyn std::fmt::Display) -> LoadError {
    LoadError::Malformed { place: place.to_owned(), problem: problem.to_string() }
}

fn without_line_end(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}
