//! What `weir handler new` writes builds and passes its test.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Every file of the template.
const FILES: [&str; 3] = ["Cargo.toml", "README.md", "src/lib.rs"];

/// A crate of this name, made from the template as `weir handler new` makes it.
fn make(name: &str, into: &Path) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dependency = format!("{{ path = {:?} }}", here.display().to_string());
    for file in FILES {
        let text = fs::read_to_string(here.join("template").join(file)).unwrap();
        let text = text.replace("{{name}}", name).replace("{{file}}", &name.replace('-', "_"));
        let text = text.replace("{{weir-handler}}", &dependency);
        assert!(
            !text.contains("{{name") && !text.contains("{{file") && !text.contains("{{weir"),
            "{file}: {text}"
        );
        let to = into.join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, text).unwrap();
    }
}

#[test]
fn a_new_handler_builds_and_passes_its_test() {
    let crate_of_a_user = tempfile::tempdir().unwrap();
    make("door-bell", crate_of_a_user.path());
    // The versions we build with, so that nothing has to be looked up.
    let versions = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("Cargo.lock");
    fs::copy(versions, crate_of_a_user.path().join("Cargo.lock")).unwrap();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "--quiet", "--lib"]).current_dir(crate_of_a_user.path());
    // Kept between runs: what it depends on is built once.
    cargo.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("template"));
    let done = cargo.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{said}");
    assert!(said.contains("2 passed"), "{said}");
}
