//! What the broker refuses of streams, as gRPC tells it.

use tonic::Code;
use weir_broker::publish::offered::NotTaken;
use weir_broker::store::{ReadError, Refusal};
use weir_broker::stream::StreamError;
use weir_broker::stream::definition::SpecError;
use weir_broker::stream::reader::ReaderEnd;
use weir_model::Reason;

use crate::error::Refused;

impl From<StreamError> for Refused {
    fn from(error: StreamError) -> Self {
        let message = error.to_string();
        match error {
            StreamError::Spec(problem) => {
                let refused = Self::new(Code::InvalidArgument, "bad_field", message);
                Self { field: field(&problem), ..refused }
            }
            StreamError::Unknown { .. } => Self::not_found("name", message),
            StreamError::Own { .. } => {
                Self { field: "name", ..Self::new(Code::FailedPrecondition, "in_use", message) }
                    .hint("unbind the binding")
            }
            StreamError::Exists { .. } => {
                Self { field: "name", ..Self::new(Code::AlreadyExists, "exists", message) }
                    .hint("alter it, or take another name")
            }
            StreamError::Changed { .. } => {
                Self { field: "version", ..Self::new(Code::Aborted, "changed", message) }
                    .hint("get it again, and alter what is there now")
            }
            StreamError::TooMany { .. } => Self::new(Code::ResourceExhausted, "too_many", message),
            StreamError::Incompatible { field, .. } => {
                let field = match field {
                    "partitions" => "spec.partitions",
                    "retention.is_compacted" => "spec.retention.compacted",
                    other => other,
                };
                Self { field, ..Self::new(Code::FailedPrecondition, "incompatible", message) }
            }
            StreamError::Store(refusal) => refusal.into(),
            StreamError::Read(error) => error.into(),
        }
    }
}

/// The field of a request that a spec's problem is about.
fn field(problem: &SpecError) -> &'static str {
    match problem {
        SpecError::NameLength | SpecError::NameCharacter => "name",
        SpecError::FilterCount { .. } | SpecError::FilterShared { .. } => "spec.filters",
        SpecError::Partitions { .. } => "spec.partitions",
        SpecError::Key(_) => "spec.key",
        SpecError::CompactedWithoutKey => "spec.retention.compacted",
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let message = format!("the store did not take it: {refusal}");
        match refusal {
            Refusal::DiskFull
            | Refusal::StoreFull
            | Refusal::QueueRefuses
            | Refusal::QueuesFull
            | Refusal::RetainedFull
            | Refusal::TooLarge => Self::new(Code::ResourceExhausted, "full", message),
            Refusal::NotOwner | Refusal::Fenced => Self::new(Code::Aborted, "fenced", message),
            Refusal::Unavailable | Refusal::Guarded => Self::new(Code::Unavailable, "store", message),
            Refusal::Unknown => {
                Self::new(Code::Unknown, "outcome_unknown", message).hint("look whether it was done")
            }
        }
    }
}

impl From<ReadError> for Refused {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable => Self::new(Code::Unavailable, "store", error.to_string()),
            ReadError::Damaged { .. } => Self::new(Code::DataLoss, "damaged", error.to_string()),
        }
    }
}

impl From<ReaderEnd> for Refused {
    fn from(end: ReaderEnd) -> Self {
        match end {
            ReaderEnd::Deleted => Self::not_found("name", end.to_string()),
            ReaderEnd::Read(error) => error.into(),
        }
    }
}

impl From<NotTaken> for Refused {
    fn from(not: NotTaken) -> Self {
        let NotTaken::Refused(reason) = not else {
            let hint = "publish it again with the same idempotency key";
            return Self::new(Code::Unknown, "outcome_unknown", not.to_string()).hint(hint);
        };
        match reason {
            Reason::NotAuthorized => Self {
                field: "topic",
                ..Self::new(Code::PermissionDenied, "policy", reason.to_string())
            }
            .hint("the policy decides who publishes to which topic; `weir topic explain` says by which rule"),
            Reason::LevelUnknown => Self::field("ack_level", reason.to_string(), "leave it out"),
            Reason::LevelDenied => Self {
                field: "ack_level",
                ..Self::new(Code::PermissionDenied, "ack_level_min", reason.to_string())
            }
            .hint("a rule of the policy that allows the publish says how low it may be: `ack_level_min`"),
            Reason::LevelImpossible => Self {
                field: "ack_level",
                ..Self::new(Code::FailedPrecondition, "ack_level_impossible", reason.to_string())
            }
            .hint("ask for one that this store can prove"),
            Reason::LevelAway => Self {
                field: "ack_level",
                ..Self::new(Code::Unavailable, "ack_level_away", reason.to_string())
            }
            .hint("try again when enough replicas are connected"),
            Reason::TopicInvalid => Self::field("topic", reason.to_string(), "a topic without wildcards"),
            Reason::Quota => Self::new(Code::ResourceExhausted, "full", reason.to_string()),
            Reason::Busy | Reason::Unavailable | Reason::ShuttingDown => {
                Self::new(Code::Unavailable, "store", reason.to_string())
            }
            _ => Self::new(Code::FailedPrecondition, reason.as_str(), reason.to_string()),
        }
    }
}
