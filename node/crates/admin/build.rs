//! Generates the services and messages of proto/weir/admin/v1, and the descriptors that reflection tells.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    let proto = PathBuf::from("../../../proto");
    let dir = proto.join("weir/admin/v1");
    println!("cargo::rerun-if-changed={}", dir.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(&dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "proto") {
            files.push(path.strip_prefix(&proto)?.to_owned());
        }
    }
    files.sort();
    let descriptors = protox::compile(&files, [&proto])?;
    let out = PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin");
    fs::write(out, descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
