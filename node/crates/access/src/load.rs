//! From the configuration and its files to an [`Access`], at start and whenever they change.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::access::Access;
use crate::config::{Config, Method};
use crate::policy;

mod part;
mod state;

pub(crate) use part::Part;
pub(crate) use state::State;

/// What an [`Access`] was loaded from, so that it can be loaded again.
pub(crate) struct Source {
    pub(crate) config: Config,
    dir: PathBuf,
    state: Mutex<State>,
}

impl Source {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why access could not be loaded. Nothing secret is in it.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("`access.{key}`: {problem}")]
    Setting { key: &'static str, problem: String },
    #[error("cannot read {}: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{} is longer than {bytes_max} bytes", path.display())]
    TooLong { path: PathBuf, bytes_max: u64 },
    /// The place is a file and, where there are lines, the line.
    #[error("{place}: {problem}")]
    Malformed { place: String, problem: String },
    #[error("cannot fetch the keys of tokens from {url}: {problem}")]
    Fetch { url: String, problem: String },
    #[error(transparent)]
    Policy(#[from] policy::LoadError),
    #[error("loading was cut short: the node is stopping, or it panicked")]
    CutShort,
}

impl Access {
    /// Reads everything the configuration names; relative paths are below `dir`. Blocks, at most for
    /// `jwt.jwks_timeout_seconds` beside the time of the disk.
    ///
    /// An address of keys that cannot be reached is no error: it is tried again by [`Access::watch`], and
    /// until then tokens are answered with [`weir_model::Reason::Unavailable`].
    ///
    /// # Errors
    /// The first setting, file or line that cannot be used.
    pub fn load(config: &Config, dir: &Path) -> Result<Arc<Access>, LoadError> {
        check(config)?;
        let mut state = State::new(config, dir);
        for part in Part::of(config) {
            if part == Part::JwksUrl {
                // Reported and counted there.
                let _ = state.load(part, config, dir);
            } else {
                state.read(part, config, dir)?;
                part.loaded();
            }
        }
        let mut access = Access::new(state.parts(config));
        let state = Mutex::new(state);
        access.source = Some(Source { config: config.clone(), dir: dir.to_owned(), state });
        Ok(Arc::new(access))
    }

    /// Reads everything anew, now. What cannot be read stays as it was; the rest is replaced.
    ///
    /// # Errors
    /// The first part that stays as it was, and why.
    pub async fn reload(self: &Arc<Self>) -> Result<(), LoadError> {
        let Some(source) = &self.source else { return Ok(()) };
        let all = Part::of(&source.config);
        let mut failures = self.load_again(all).await?;
        if failures.is_empty() { Ok(()) } else { Err(failures.swap_remove(0)) }
    }

    /// Reads some parts anew, off the async threads; each failure is counted and reported.
    pub(crate) async fn load_again(self: &Arc<Self>, parts: Vec<Part>) -> Result<Vec<LoadError>, LoadError> {
        let access = Arc::clone(self);
        let loading = tokio::task::spawn_blocking(move || access.load_again_blocking(&parts));
        loading.await.map_err(|_| LoadError::CutShort)
    }

    fn load_again_blocking(&self, parts: &[Part]) -> Vec<LoadError> {
        let Some(source) = &self.source else { return Vec::new() };
        let (Source { config, dir, .. }, mut state) = (source, source.state());
        let mut failures = Vec::new();
        let mut changed = false;
        for part in parts {
            match state.load(*part, config, dir) {
                Ok(false) => {}
                Ok(true) => {
                    part.changed();
                    changed = true;
                }
                Err(error) => failures.push(error),
            }
        }
        if changed {
            self.replace(state.parts(config));
        }
        failures
    }

    /// The parts whose files are not what they were when they were last read.
    pub(crate) fn changed_parts(&self) -> Vec<Part> {
        let Some(source) = &self.source else { return Vec::new() };
        let (Source { config, dir, .. }, state) = (source, source.state());
        let parts = Part::of(config).into_iter();
        parts.filter(|part| state.files_changed(*part, config, dir)).collect()
    }

    /// What the files look like now, to see whether somebody is still writing.
    pub(crate) fn looks(&self) -> Vec<part::Look> {
        let Some(source) = &self.source else { return Vec::new() };
        let (Source { config, dir, .. }, state) = (source, source.state());
        Part::of(config).into_iter().flat_map(|part| part::look(&state.files(part, config, dir))).collect()
    }
}

/// What of the settings does not fit together.
fn check(config: &Config) -> Result<(), LoadError> {
    let configured = config.configured();
    let wrong = |key, problem: String| Err(LoadError::Setting { key, problem });
    for (at, method) in config.order.iter().enumerate() {
        let name = method.as_str();
        if config.order[..at].contains(method) {
            return wrong("order", format!("`{name}` is there twice"));
        }
        if !configured.contains(method) {
            let problem = format!("`{name}` is not configured; that takes {}", what_configures(*method));
            return wrong("order", problem);
        }
    }
    let left_out = configured.iter().find(|method| !config.order.contains(method));
    if let (false, Some(method)) = (config.order.is_empty(), left_out) {
        return wrong("order", format!("`{}` is configured and left out", method.as_str()));
    }
    if config.certificates.identity.is_none() && !config.certificates.crl_files.is_empty() {
        let problem =
            "is set, and `access.certificates.identity` is not, so that no certificate is looked at";
        return wrong("certificates.crl_files", problem.to_owned());
    }
    match &config.jwt.jwks_url {
        Some(url) => crate::authenticate::jwt::fetch::check(url),
        None => Ok(()),
    }
}

fn what_configures(method: Method) -> &'static str {
    match method {
        Method::Jwt => {
            "a key in `access.jwt`, as `secret_file`, `public_key_file`, `jwks_file` or `jwks_url`"
        }
        Method::Accounts => "`access.accounts.file`",
        Method::Certificates => "`access.certificates.identity`",
    }
}

/// The content of a file.
///
/// # Errors
/// It cannot be read, or is longer than `bytes_max`.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, LoadError> {
    let unreadable = |error| LoadError::Unreadable { path: path.to_owned(), error };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > bytes_max {
        return Err(LoadError::TooLong { path: path.to_owned(), bytes_max });
    }
    Ok(bytes)
}
