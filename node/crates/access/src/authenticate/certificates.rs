//! Client certificates: the TLS layer says that one is genuine, this says who it is and whether it still counts.

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::{self, BoxFuture};
use weir_model::{Principal, Reason, UnixMillis};
use x509_parser::der_parser::asn1_rs::FromDer as _;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

use super::counted;
use crate::config::{self, CertificateIdentity};
use crate::identity::{Authenticator, Credentials, Grant, Identity};

pub(crate) mod revoked;

use revoked::{Revoked, issuer_fingerprint, serial};

/// Bytes of a user id out of a certificate.
const USER_ID_BYTES_MAX: usize = 1024;

/// Lets in who shows a certificate.
pub(crate) struct Certificates {
    pub(crate) identity: CertificateIdentity,
    pub(crate) roles: Vec<Arc<str>>,
    pub(crate) revoked: Arc<Revoked>,
}

/// Why a certificate was refused; logged at debug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("the certificate cannot be read")]
    Malformed,
    #[error("the certificate is expired")]
    Expired,
    #[error("the certificate is revoked")]
    Revoked,
    #[error("the certificate does not have the name that is the user id")]
    Nameless,
}

impl Certificates {
    pub(crate) fn new(
        config: &config::Certificates,
        identity: CertificateIdentity,
        revoked: Arc<Revoked>,
    ) -> Certificates {
        let roles = config.roles.iter().map(|role| Arc::from(role.as_str())).collect();
        Certificates { identity, roles, revoked }
    }

    fn judge(&self, der: &[u8], client_id: &Arc<str>, now: UnixMillis) -> Result<Identity, Refusal> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| Refusal::Malformed)?;
        // A resumed TLS session is not looked at again by the TLS layer.
        let ends = certificate.validity().not_after.timestamp();
        let ends = UnixMillis(u64::try_from(ends).unwrap_or(0).saturating_mul(1000));
        if ends <= now {
            return Err(Refusal::Expired);
        }
        let serial: Arc<[u8]> = serial(certificate.raw_serial()).into();
        let issuer = issuer_fingerprint(certificate.issuer());
        if self.revoked.has(issuer, &serial) {
            return Err(Refusal::Revoked);
        }
        let user_id = self.user_id(&certificate).filter(|name| is_user_id(name)).ok_or(Refusal::Nameless)?;
        let principal = Principal {
            client_id: client_id.clone(),
            user_id: Some(Arc::from(user_id)),
            roles: self.roles.clone(),
            claims: Vec::new(),
        };
        let mut identity = Identity::new(principal, Grant::Certificate { serial, issuer });
        identity.expires_at = Some(ends);
        Ok(identity)
    }

    fn user_id<'a>(&self, certificate: &'a X509Certificate<'_>) -> Option<&'a str> {
        if self.identity == CertificateIdentity::SubjectCn {
            return certificate.subject().iter_common_name().next()?.as_str().ok();
        }
        let names = &certificate.subject_alternative_name().ok()??.value.general_names;
        names.iter().find_map(|name| match (self.identity, name) {
            (CertificateIdentity::SanDns, GeneralName::DNSName(name))
            | (CertificateIdentity::SanUri, GeneralName::URI(name))
            | (CertificateIdentity::SanEmail, GeneralName::RFC822Name(name)) => Some(*name),
            _ => None,
        })
    }
}

impl Authenticator for Certificates {
    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Option<Result<Identity, Reason>>> {
        let verdict = credentials.certificate.as_deref().map(|der| {
            let found = self.judge(der, &credentials.client_id, UnixMillis::from(SystemTime::now()));
            counted("certificates", found.map_err(|refusal| {
                tracing::debug!(client_id = ?credentials.client_id, why = %refusal, "certificate refused");
                Reason::BadCredentials
            }))
        });
        Box::pin(future::ready(verdict))
    }

    fn still_holds(&self, grant: &Grant) -> Option<bool> {
        match grant {
            Grant::Certificate { serial, issuer } => Some(!self.revoked.has(*issuer, serial)),
            _ => None,
        }
    }
}

fn is_user_id(name: &str) -> bool {
    (1..=USER_ID_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control)
}

#[cfg(test)]
mod tests;
