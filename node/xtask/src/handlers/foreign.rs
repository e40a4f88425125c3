//! The handlers in Python and JavaScript. Minutes of work, so each is tested and built once for its sources.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{home, unless_built, wit, workshop};
use crate::command::{command, must};
use crate::tools;

/// With componentize-py, out of PyPI.
pub fn python() -> Result<()> {
    let home = home().join("python-echo");
    let sources = ["app.py", "test_app.py", "requirements.txt"].map(|name| home.join(name));
    let [app, test, wanted] = &sources;
    unless_built("python-echo", &[&sources[..], &[wit()]].concat(), |out| {
        let tool = tools::pip_install(wanted, "componentize-py")?.join("componentize-py");
        // Python writes beside what it reads; the handler's home stays clean.
        let room = clean(workshop().join("python-echo"))?;
        fs::copy(app, room.join("app.py")).context("cannot copy app.py")?;
        fs::copy(test, room.join("test_app.py")).context("cannot copy test_app.py")?;
        let componentize = || {
            let mut componentize = command(&tool);
            componentize
                .current_dir(&room)
                .arg("--quiet")
                .arg("--wit-path")
                .arg(wit())
                .args(["--world", "command"]);
            componentize
        };
        must(componentize().args(["bindings", "types"]))?;
        let mut tests = command(tool.with_file_name("python"));
        tests.current_dir(&room).args(["-m", "unittest", "--quiet"]).env("PYTHONPATH", room.join("types"));
        must(&mut tests)?;
        must(componentize().args(["componentize", "app", "--python-path", ".", "--output"]).arg(out))
    })
}

/// With componentize-js, out of npm.
pub fn javascript() -> Result<()> {
    let home = home().join("js-upper");
    let sources = ["app.js", "app.test.js", "build.mjs", "package.json"].map(|name| home.join(name));
    let [app, test, build, _] = &sources;
    unless_built("js-upper", &[&sources[..], &[wit()]].concat(), |out| {
        let tool = tools::npm_install("handlers/js-upper/package.json", "componentize-js")?;
        must(command("node").arg("--test").arg(test))?;
        // It looks for its packages where it lies itself.
        fs::copy(build, tool.join("build.mjs")).context("cannot copy build.mjs")?;
        must(command("node").arg(tool.join("build.mjs")).arg(app).arg(wit()).arg(out))
    })
}

/// The directory with nothing in it.
fn clean(room: PathBuf) -> Result<PathBuf> {
    let is_there = |room: &Path| room.is_dir().then(|| fs::remove_dir_all(room));
    is_there(&room)
        .transpose()
        .and_then(|_| fs::create_dir_all(&room))
        .context("cannot make room to build")?;
    Ok(room)
}
