//! The contracts in `proto/` are as buf wants them: versioned, consistent, and commented field by field.

use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn buf_finds_nothing_in_the_contracts() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let tools = std::env::var_os("WEIR_TOOLS").map_or_else(|| root.join("target/tools"), PathBuf::from);
    let buf = tools.join("buf/node_modules/.bin/buf");
    assert!(buf.exists(), "{} is missing: run `cargo xtask tools`", buf.display());
    let cache = tempfile::tempdir().expect("a directory");
    let judged = Command::new(buf)
        .arg("lint")
        .current_dir(root.join("proto"))
        .env("BUF_CACHE_DIR", cache.path())
        .output()
        .expect("buf");
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout));
}
