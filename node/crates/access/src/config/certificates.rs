//! The `[access.certificates]` section.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What of a certificate is the user id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CertificateIdentity {
    /// The common name of the subject.
    SubjectCn,
    /// The first DNS name among the subject's alternative names.
    SanDns,
    /// The first URI among them.
    SanUri,
    /// The first e-mail address among them.
    SanEmail,
}

/// The `[access.certificates]` section. Which authorities are believed is set by `net.tls.client_ca`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Certificates {
    /// What of a client's certificate is its user id: `subject_cn`, `san_dns`, `san_uri` or `san_email`.
    pub identity: Option<CertificateIdentity>,
    /// The roles of every client that shows a certificate.
    pub roles: Vec<String>,
    /// Revocation lists (PEM or DER); who is on one is refused, and its sessions end.
    pub crl_files: Vec<PathBuf>,
}
