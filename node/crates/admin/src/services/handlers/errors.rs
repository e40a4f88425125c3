//! What the broker refuses of handlers, as gRPC tells it.

use tonic::Code;
use weir_broker::binding::{DefinitionError, HandlerError};
use weir_broker::runtime::Refused as Program;

use crate::error::Refused;

impl From<HandlerError> for Refused {
    fn from(error: HandlerError) -> Self {
        let message = error.to_string();
        let precondition =
            |field, reason| Self { field, ..Self::new(Code::FailedPrecondition, reason, &message) };
        match error {
            HandlerError::Definition(problem) => {
                Self { field: field(&problem), ..Self::new(Code::InvalidArgument, "bad_field", message) }
            }
            HandlerError::NoHandler { .. } | HandlerError::NoBinding { .. } => {
                Self::not_found("name", message)
            }
            HandlerError::NoVersion { .. } => Self::not_found("digest", message),
            HandlerError::NoStream { .. } => Self::not_found("spec.stream", message),
            HandlerError::NoSecret { .. } => Self::not_found("spec.secrets", message),
            HandlerError::Exists { .. } => {
                Self { field: "name", ..Self::new(Code::AlreadyExists, "exists", message) }
                    .hint("alter it, or take another name")
            }
            HandlerError::Digest { .. } => {
                Self { field: "header.digest", ..Self::new(Code::DataLoss, "digest", message) }
                    .hint("upload it again")
            }
            HandlerError::World { .. } => precondition("header.name", "world"),
            HandlerError::Source { .. } => precondition("spec.source", "source"),
            HandlerError::NoReducer { .. } => precondition("spec.stream.changelog", "world"),
            HandlerError::ReducerOutputs => precondition("spec.outputs", "world"),
            HandlerError::InUse { .. } => precondition("name", "in_use").hint("unbind it first"),
            HandlerError::Named { .. } => {
                precondition("digest", "in_use").hint("point the alias at another version")
            }
            HandlerError::NothingBefore { .. } => precondition("alias", "nothing_before"),
            HandlerError::TooMany { .. } => Self::new(Code::ResourceExhausted, "too_many", message),
            HandlerError::Changed { .. } => {
                Self { field: "version", ..Self::new(Code::Aborted, "changed", message) }
                    .hint("get it again, and alter what is there now")
            }
            HandlerError::Program(problem) => program(&problem, message),
            HandlerError::NoProgram(_) => Self::new(Code::Unavailable, "no_program", message),
            HandlerError::Group(error) => error.into(),
            HandlerError::Stream(error) => error.into(),
            HandlerError::Store(refusal) => refusal.into(),
            HandlerError::Read(error) => error.into(),
        }
    }
}

/// Why a program is not taken.
fn program(problem: &Program, message: String) -> Refused {
    let code = match problem {
        Program::NoInstance => Code::Unavailable,
        Program::TooLarge { .. } | Program::TooMany { .. } => Code::ResourceExhausted,
        _ => Code::InvalidArgument,
    };
    Refused { field: "chunk", ..Refused::new(code, "bad_program", message) }
}

fn field(problem: &DefinitionError) -> &'static str {
    match problem {
        DefinitionError::NameLength | DefinitionError::NameCharacter => "name",
        DefinitionError::Range { field, .. }
        | DefinitionError::TooMany { field, .. }
        | DefinitionError::SharedFilter { field, .. }
        | DefinitionError::NotOfMiddleware { field } => field,
        DefinitionError::NoFilters => "spec.topics.filters",
        DefinitionError::NoHooks => "spec.middleware.hooks",
        DefinitionError::Shares { .. } => "shares",
        DefinitionError::Digest { .. } => "digest",
    }
}
