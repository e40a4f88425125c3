//! Refusals: a gRPC status, with the reason and the field at fault for programs.

use prost::Message as _;
use tonic::{Code, Status};
use weir_broker::admin::EndError;

use crate::proto::ErrorDetail;

/// Why a call is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub code: Code,
    /// A word for programs.
    pub reason: &'static str,
    /// The field of the request; empty = it is not about one.
    pub field: &'static str,
    /// For people. No names of any length: it travels in a header.
    pub message: String,
    /// What would help.
    pub hint: String,
}

impl Refused {
    #[must_use]
    pub fn new(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, field: "", message: message.into(), hint: String::new() }
    }

    /// A field is not what it may be.
    #[must_use]
    pub fn field(field: &'static str, problem: impl Into<String>, hint: impl Into<String>) -> Self {
        let message = format!("{field}: {}", problem.into());
        Self { field, hint: hint.into(), ..Self::new(Code::InvalidArgument, "bad_field", message) }
    }

    /// What the field names is not there.
    #[must_use]
    pub fn not_found(field: &'static str, message: impl Into<String>) -> Self {
        Self { field, ..Self::new(Code::NotFound, "not_found", message) }
    }

    #[must_use]
    pub fn no_credentials() -> Self {
        let hint = "send `authorization: Bearer weir_<id>_<secret>`; `weir token create` makes one";
        let message = "this node asks who administers it";
        Self { hint: hint.to_owned(), ..Self::new(Code::Unauthenticated, "no_credentials", message) }
    }

    /// A certificate that was good when the connection began.
    #[must_use]
    pub fn not_believed() -> Self {
        let message = "the certificate was revoked, or its authority is believed no more";
        Self::new(Code::Unauthenticated, "revoked", message)
    }

    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, "internal", message)
    }

    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), ..self }
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        let Refused { code, reason, field, message, hint } = refused;
        let detail = ErrorDetail { reason: reason.to_owned(), field: field.to_owned(), hint };
        Status::with_details(code, message, detail.encode_to_vec().into())
    }
}

impl From<EndError> for Refused {
    fn from(error: EndError) -> Self {
        let message = error.to_string();
        match error {
            EndError::Unknown => Self::not_found("client_id", message),
            EndError::Offline => Self::new(Code::FailedPrecondition, "not_here", message)
                .hint("delete the session to end it while its client is away"),
            EndError::Unreachable { .. } => Self::new(Code::Unavailable, "node_unreachable", message)
                .hint("try again when the node is back, or is counted as dead"),
            EndError::Stays => Self::new(Code::Aborted, "busy", message)
                .hint("take the client's right to connect away first"),
            EndError::Store { .. } => Self::new(Code::Unavailable, "store", message),
        }
    }
}

/// A name as it may stand in a message: of any length and content, told in few characters.
#[must_use]
pub fn short(name: &str) -> String {
    const CHARS_MAX: usize = 80;
    let mut told: String = name.chars().take(CHARS_MAX).flat_map(char::escape_debug).collect();
    if name.chars().nth(CHARS_MAX).is_some() {
        told.push('…');
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_carries_its_reason_and_field() {
        let status = Status::from(Refused::field("page_size", "too large", "at most 10"));
        let detail = ErrorDetail::decode(status.details()).unwrap();
        assert_eq!((status.code(), detail.reason.as_str()), (Code::InvalidArgument, "bad_field"));
        assert_eq!((detail.field.as_str(), detail.hint.as_str()), ("page_size", "at most 10"));
    }

    #[test]
    fn a_name_of_any_length_and_content_fits_into_a_header() {
        let told = short(&"\n\u{1F600}".repeat(40_000));
        assert!(told.chars().count() < 500 && !told.contains('\n') && told.ends_with('…'), "{told}");
        assert_eq!(short("a/{b}"), "a/{b}");
    }
}
