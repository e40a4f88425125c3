//! Finds a policy by the name of a preset or the path of a file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::grammar::{Problem, Refused};
use super::rules::Rules;
use super::{AllowAll, Policy};

/// Longest policy file in bytes: some ten thousand rules.
const POLICY_BYTES_MAX: u64 = 1 << 20;

/// Everything to everybody: no rules, so that nobody waits for them.
const OPEN: &str = "open";

/// The presets that are files like any other.
const PRESETS: [(&str, &str); 2] =
    [("cashew", include_str!("presets/cashew.toml")), ("own", include_str!("presets/own.toml"))];

/// A policy and the files it was read from: none for a preset.
pub struct Loaded {
    pub policy: Box<dyn Policy>,
    pub files: Vec<PathBuf>,
}

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("there is no policy `{choice}`: it is none of the presets ({}) and there is no file {}", presets(), path.display())]
    Unknown { choice: String, path: PathBuf },
    #[error("the policy {} cannot be read: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("the policy {} is longer than {POLICY_BYTES_MAX} bytes", path.display())]
    TooLong { path: PathBuf },
    #[error("the policy {} is not UTF-8 from byte {valid_bytes} on", path.display())]
    NotText { path: PathBuf, valid_bytes: usize },
    #[error("{source_name}:{line}: {problem}")]
    Invalid { source_name: String, line: usize, problem: Problem },
}

/// Loads the policy that `access.policy` names: a preset (`open`, `cashew`, `own`), else a file, below
/// `dir` unless its path is absolute. A file without rules is a policy: it allows nothing but to connect.
///
/// # Errors
/// Names the file, and the line where there is one; an unknown name lists the presets.
pub fn load(choice: &str, dir: &Path) -> Result<Loaded, LoadError> {
    if choice == OPEN {
        return Ok(Loaded { policy: Box::new(AllowAll), files: Vec::new() });
    }
    if let Some((name, text)) = PRESETS.iter().find(|(name, _)| *name == choice) {
        let source = format!("preset {name}");
        let rules = Rules::parse(&source, text).map_err(|refused| invalid(source, refused))?;
        return Ok(Loaded { policy: Box::new(rules), files: Vec::new() });
    }
    let path = dir.join(choice);
    let text = read(choice, &path)?;
    let rules =
        Rules::of_file(&path, &text).map_err(|refused| invalid(path.display().to_string(), refused))?;
    Ok(Loaded { policy: Box::new(rules), files: vec![path] })
}

/// The names of the presets, for messages.
fn presets() -> String {
    let names: Vec<&str> = [OPEN].into_iter().chain(PRESETS.iter().map(|(name, _)| *name)).collect();
    names.join(", ")
}

fn invalid(source_name: String, Refused { line, problem }: Refused) -> LoadError {
    LoadError::Invalid { source_name, line, problem }
}

fn read(choice: &str, path: &Path) -> Result<String, LoadError> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => LoadError::Unknown { choice: choice.to_owned(), path: path.to_owned() },
        _ => LoadError::Unreadable { path: path.to_owned(), error },
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(POLICY_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > POLICY_BYTES_MAX {
        return Err(LoadError::TooLong { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid_bytes = error.utf8_error().valid_up_to();
        LoadError::NotText { path: path.to_owned(), valid_bytes }
    })
}

#[cfg(test)]
mod tests;
