//! `weir handler deploy`: a file becomes a version, and is bound.

use std::path::PathBuf;

use anyhow::Context as _;
use bytes::Bytes;
use serde_json::json;
use weir_admin::proto::handlers_upload_request::Part;
use weir_admin::proto::{
    HandlerShare, HandlerUpload, HandlerVersion, HandlersBindRequest, HandlersSetAliasRequest,
    HandlersUploadRequest,
};
use weir_runtime::Digest;

use super::super::Failure;
use super::super::admin::{refused, say, say_json};
use super::{Ask, binding, manage};

/// Bytes of one piece.
const CHUNK_BYTES: usize = 256 << 10;

#[derive(Debug, clap::Args)]
pub struct Deploy {
    /// The program: a component, or a core module made with the SDK.
    file: PathBuf,
    /// The handler's name; left out, the file's without `.wasm`.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Point this alias at the new version. A handler's first version is `live` by itself.
    #[arg(long, value_name = "ALIAS", default_missing_value = "live", num_args = 0..=1)]
    promote: Option<String>,
    /// The binding's name; left out, the handler's.
    #[arg(long, value_name = "NAME")]
    binding: Option<String>,
    #[command(flatten)]
    source: binding::SourceArgs,
    #[command(flatten)]
    settings: binding::Settings,
    #[command(flatten)]
    ask: Ask,
}

/// Uploads, promotes and binds as asked.
pub async fn deploy(args: &Deploy) -> Result<(), Failure> {
    let bytes = std::fs::read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => args.file.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
    };
    let version = upload(args, &name, Bytes::from(bytes)).await?;
    if let Some(alias) = &args.promote {
        let request = HandlersSetAliasRequest {
            realm: args.ask.realm.clone(),
            name: name.clone(),
            alias: alias.clone(),
            shares: vec![HandlerShare { digest: version.digest.clone(), percent: 100 }],
            guard_percent: 0,
            guard_calls_min: 0,
        };
        args.ask.server.connect().await?.handlers().set_alias(request).await.map_err(refused)?;
    }
    let bound = match args.source.source() {
        Some(source) => {
            let binding = args.binding.clone().unwrap_or_else(|| name.clone());
            let spec = args.settings.spec(&name, source);
            let request = HandlersBindRequest {
                realm: args.ask.realm.clone(),
                name: binding.clone(),
                spec: Some(spec),
            };
            args.ask.server.connect().await?.handlers().bind(request).await.map_err(refused)?;
            Some(binding)
        }
        None => None,
    };
    if args.ask.json {
        return say_json(
            &json!({ "handler": name, "version": manage::version_json(&version), "binding": bound }),
        );
    }
    let bound = bound.map(|binding| format!(", bound as {binding}")).unwrap_or_default();
    say(&format!("{name}: version {} ({}){bound}\n", version.number, manage::short(&version.digest)))
}

async fn upload(args: &Deploy, name: &str, bytes: Bytes) -> Result<HandlerVersion, Failure> {
    let header = HandlerUpload {
        realm: args.ask.realm.clone(),
        name: name.to_owned(),
        digest: Digest::of(&bytes).to_string(),
        bytes: bytes.len() as u64,
    };
    let pieces = (0..bytes.len()).step_by(CHUNK_BYTES);
    let pieces = pieces.map(move |at| Part::Chunk(bytes.slice(at..bytes.len().min(at + CHUNK_BYTES))));
    let parts = std::iter::once(Part::Header(header)).chain(pieces).collect::<Vec<_>>();
    let parts = parts.into_iter().map(|part| HandlersUploadRequest { part: Some(part) });
    // Large programs take their time to be compiled.
    let mut handlers = args.ask.server.connect_without_end().await?.handlers();
    let answer = handlers.upload(futures_util::stream::iter(parts)).await.map_err(refused)?;
    Ok(answer.into_inner().version.unwrap_or_default())
}
