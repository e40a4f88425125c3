//! `weir handler new`: a crate to begin with.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;

use super::super::Failure;
use super::super::admin::say;

/// What is written, with placeholders in double braces.
const FILES: [(&str, &str); 3] = [
    ("Cargo.toml", include_str!("../../../../handlers-sdk/template/Cargo.toml")),
    ("src/lib.rs", include_str!("../../../../handlers-sdk/template/src/lib.rs")),
    ("README.md", include_str!("../../../../handlers-sdk/template/README.md")),
];

#[derive(Debug, clap::Args)]
pub struct New {
    /// The name of the crate: a directory of that name is made here.
    name: String,
    /// Where the SDK lies (`handlers-sdk` of a checkout of Weir); left out, `handlers-sdk` in this directory.
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
}

/// Writes it; nothing that is there is touched.
pub fn new(args: &New) -> Result<(), Failure> {
    let is_name = |name: &str| {
        let mut letters = name.chars();
        letters.next().is_some_and(|first| first.is_ascii_alphabetic())
            && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_')
    };
    if !is_name(&args.name) {
        return Err(Failure::Usage(
            "a crate's name has letters, digits, `-` and `_`, and begins with a letter".into(),
        ));
    }
    let sdk = args.sdk.clone().unwrap_or_else(|| PathBuf::from("handlers-sdk"));
    let sdk = fs::canonicalize(&sdk).map_err(|error| {
        Failure::Usage(format!("{}: {error}; --sdk says where the SDK lies", sdk.display()))
    })?;
    let dir = PathBuf::from(&args.name);
    fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    fs::create_dir(dir.join("src")).context("cannot make its src")?;
    let dependency = format!("{{ path = {:?} }}", sdk.display().to_string());
    for (path, text) in FILES {
        let text = text
            .replace("{{name}}", &args.name)
            .replace("{{file}}", &args.name.replace('-', "_"))
            .replace("{{weir-handler}}", &dependency);
        let path = dir.join(path);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    say(&format!(
        "{0}: a handler; `cargo test` in it tries it, its README says how it is built and deployed\n",
        args.name
    ))
}
