//! The authenticators: one file each, asked in the order of `access.order`.

use metrics::counter;
use ring::digest;
use weir_model::Reason;

pub(crate) mod accounts;
pub(crate) mod certificates;
pub(crate) mod cryptosign;
pub(crate) mod hashing;
pub(crate) mod jwt;
pub(crate) mod scram;
pub(crate) mod wampcra;

/// Counts a verdict under the method it was found by; hands it back.
fn counted<T>(method: &'static str, verdict: Result<T, Reason>) -> Result<T, Reason> {
    let result = match &verdict {
        Ok(_) => "accepted",
        Err(reason) => reason.as_str(),
    };
    counter!("weir_access_authentications_total", "method" => method, "result" => result).increment(1);
    verdict
}

/// Eight bytes of SHA-256 over these, each with its length before it: equal only for equal parts.
fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&context.finish().as_ref()[..8]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_only_look_alike_when_joined_have_different_fingerprints() {
        assert_ne!(fingerprint([b"ab".as_slice(), b"c"]), fingerprint([b"a".as_slice(), b"bc"]));
        assert_eq!(fingerprint([b"ab".as_slice()]), fingerprint([b"ab".as_slice()]));
    }
}
