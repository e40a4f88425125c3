//! Fetches a key set from its address: once, bounded in time and size.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

use super::keys::Key;
use super::sources;
use crate::config;
use crate::load::{LoadError, read};

/// Bytes of a file with authorities: all that a system has fit twice.
const CA_FILE_BYTES_MAX: u64 = 1 << 20;

/// How often an address may point on to another.
const REDIRECTS_MAX: u32 = 3;

/// Fetches and reads the set. Blocks for at most `jwks_timeout_seconds`.
///
/// # Errors
/// It cannot be fetched, is too long, or has no usable key.
pub(crate) fn keys(config: &config::Jwt, url: &str, dir: &Path) -> Result<Vec<Arc<Key>>, LoadError> {
    let failed = |problem: String| LoadError::Fetch { url: without_secrets(url), problem };
    let answer = agent(config, url, dir)?.get(url).header("accept", "application/json").call();
    let mut answer = answer.map_err(|error| failed(error.to_string()))?;
    let text = answer.body_mut().with_config().limit(config.jwks_bytes_max).read_to_vec();
    let text = text.map_err(|error| failed(error.to_string()))?;
    sources::fetched(&text, &without_secrets(url))
}

/// Whether an address can be fetched from at all.
///
/// # Errors
/// It is neither `https` nor `http`.
pub(crate) fn check(url: &str) -> Result<(), LoadError> {
    if is_https(url) || has_scheme(url, "http://") {
        return Ok(());
    }
    let problem = "an address begins with `https://` or `http://`".to_owned();
    Err(LoadError::Setting { key: "jwt.jwks_url", problem })
}

/// An agent for one call, so that changed authorities count at once and nothing stays open.
fn agent(config: &config::Jwt, url: &str, dir: &Path) -> Result<Agent, LoadError> {
    let roots = match &config.jwks_ca_file {
        None => RootCerts::WebPki,
        Some(path) => authorities(&dir.join(path))?,
    };
    let tls = TlsConfig::builder().root_certs(roots).build();
    let agent = Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(config.jwks_timeout_seconds.max(1))))
        .https_only(is_https(url))
        .max_redirects(REDIRECTS_MAX)
        .tls_config(tls)
        .build();
    Ok(agent.into())
}

fn authorities(path: &Path) -> Result<RootCerts, LoadError> {
    let text = read(path, CA_FILE_BYTES_MAX)?;
    let malformed = |problem: &str| LoadError::Malformed {
        place: path.display().to_string(),
        problem: problem.to_owned(),
    };
    let mut all: Vec<Certificate<'static>> = Vec::new();
    for item in ureq::tls::parse_pem(&text) {
        if let PemItem::Certificate(certificate) = item.map_err(|_| malformed("it is not PEM"))? {
            all.push(certificate);
        }
    }
    if all.is_empty() { Err(malformed("there is no certificate in it")) } else { Ok(RootCerts::from(all)) }
}

fn is_https(url: &str) -> bool {
    has_scheme(url, "https://")
}

fn has_scheme(url: &str, scheme: &str) -> bool {
    url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

/// The address without user, password and query, fit for a log.
fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_a_log_has_neither_password_nor_query() {
        assert_eq!(without_secrets("https://u:p@idp.example/keys?token=x"), "https://idp.example/keys");
        assert_eq!(without_secrets("http://127.0.0.1:8080"), "http://127.0.0.1:8080");
    }

    #[test]
    fn only_web_addresses_are_fetched() {
        assert!(check("https://idp.example/keys").is_ok() && check("HTTP://localhost/keys").is_ok());
        for bad in ["file:///etc/passwd", "keys.json", "ftp://x", ""] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
