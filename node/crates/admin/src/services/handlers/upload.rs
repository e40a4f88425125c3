//! An upload: a header, and the program in pieces.

use bytes::BytesMut;
use tonic::{Code, Streaming};

use super::{Shared, define, realm_name, told};
use crate::caller::Caller;
use crate::error::Refused;
use crate::proto::handlers_upload_request::Part;
use crate::proto::{HandlerUpload, HandlersUploadRequest, HandlersUploadResponse};

/// Takes an upload; `name`: what the audit log calls it.
pub async fn upload(
    shared: &Shared,
    caller: &Caller,
    mut pieces: Streaming<HandlersUploadRequest>,
    name: &mut String,
) -> Result<HandlersUploadResponse, Refused> {
    let header = match next(&mut pieces).await? {
        Some(Part::Header(header)) => header,
        _ => return Err(Refused::field("header", "it does not come first", "a header, then chunks")),
    };
    name.clone_from(&header.name);
    define::name("header.name", &header.name)?;
    let max = shared.broker.upload_bytes_max()?;
    if header.bytes > max as u64 {
        return Err(too_large(max));
    }
    let mut bytes = BytesMut::new();
    while let Some(part) = next(&mut pieces).await? {
        let Part::Chunk(chunk) = part else {
            return Err(Refused::field("header", "it comes twice", "a header, then chunks"));
        };
        if bytes.len() + chunk.len() > max {
            return Err(too_large(max));
        }
        bytes.extend_from_slice(&chunk);
    }
    let HandlerUpload { realm, name, digest, bytes: said } = header;
    if said != 0 && said != bytes.len() as u64 {
        let problem = format!("{} bytes came, {said} were to come", bytes.len());
        return Err(Refused::field("header.bytes", problem, "upload it again"));
    }
    let realm = realm_name(&realm);
    let version = shared.broker.upload_handler(&realm, &name, bytes.freeze(), &digest, &caller.who).await?;
    Ok(HandlersUploadResponse { version: Some(told::version(&version)) })
}

async fn next(pieces: &mut Streaming<HandlersUploadRequest>) -> Result<Option<Part>, Refused> {
    match pieces.message().await {
        Ok(None) => Ok(None),
        Ok(Some(HandlersUploadRequest { part: Some(part) })) => Ok(Some(part)),
        Ok(Some(HandlersUploadRequest { part: None })) => {
            Err(Refused::field("part", "it is neither a header nor a chunk", "a header, then chunks"))
        }
        Err(status) => Err(Refused::new(Code::Cancelled, "cut_off", status.message())),
    }
}

fn too_large(max: usize) -> Refused {
    let message = format!("a program has at most {max} bytes (`runtime.upload_bytes_max`)");
    Refused { field: "header.bytes", ..Refused::new(Code::ResourceExhausted, "too_large", message) }
}
