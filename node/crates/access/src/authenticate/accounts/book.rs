//! The accounts of a file, checked when it is read.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::rand::SystemRandom;
use serde::Deserialize;
use toml::Spanned;

use super::super::fingerprint;
use super::super::scram::{BadKeys, Keys};
use super::password::{BadHash, Password};
use crate::load::{LoadError, read};

/// Bytes of an accounts file: some 200,000 accounts.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Bytes of a name.
const NAME_BYTES_MAX: usize = 1024;

/// Somebody with a password.
pub(crate) struct Account {
    pub(crate) name: Arc<str>,
    pub(crate) roles: Vec<Arc<str>>,
    pub(crate) password: Option<Password>,
    pub(crate) scram: Option<Keys>,
    /// Changes with the password, the SCRAM keys and the roles.
    pub(crate) stamp: u64,
}

/// All accounts at one moment.
pub(crate) struct Book {
    accounts: HashMap<Arc<str>, Arc<Account>>,
    /// Those with a password, for [`Book::stand_in`].
    with_password: Vec<Arc<Account>>,
    /// Those with SCRAM keys.
    with_scram: Vec<Arc<Account>>,
    /// What unknown names are told rests on this, so that they are told the same every time.
    seed: hmac::Key,
}

/// What is wrong with an accounts file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    #[error("{0}")]
    Syntax(String),
    #[error("a name has 1 to {NAME_BYTES_MAX} bytes and no control characters")]
    Name,
    #[error("the account `{name}` is there twice")]
    Twice { name: String },
    #[error("the account `{name}` has neither `password` nor `scram`")]
    Nothing { name: String },
    #[error("the account `{name}`: {problem}")]
    Password { name: String, problem: BadHash },
    #[error("the account `{name}`: {problem}")]
    Scram { name: String, problem: BadKeys },
    #[error("the account `{name}` has a role without a name")]
    Role { name: String },
    #[error("`seed` is not base64 of 16 bytes or more")]
    Seed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    seed: Option<Spanned<String>>,
    #[serde(default)]
    account: Vec<Spanned<AccountText>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountText {
    name: String,
    password: Option<String>,
    scram: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
}

impl Book {
    /// # Errors
    /// The file cannot be read, or the first thing that is wrong in it, with its line.
    pub(crate) fn load(path: &Path) -> Result<Book, LoadError> {
        let place = |line: usize| format!("{}:{line}", path.display());
        let bytes = read(path, FILE_BYTES_MAX)?;
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
            LoadError::Malformed { place: place(line), problem: "it is not UTF-8".to_owned() }
        })?;
        warn_of_readers(path);
        Book::parse(text).map_err(|(line, problem)| LoadError::Malformed {
            place: place(line),
            problem: problem.to_string(),
        })
    }

    /// # Errors
    /// The line (from 1) and what is wrong there.
    pub(crate) fn parse(text: &str) -> Result<Book, (usize, Problem)> {
        let line = |at: usize| 1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count();
        let file: FileText = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            (line(at), Problem::Syntax(error.message().to_owned()))
        })?;
        let seed = match &file.seed {
            Some(seed) => key_of(seed.get_ref()).ok_or_else(|| (line(seed.span().start), Problem::Seed))?,
            None => random_key(),
        };
        let mut book =
            Book { accounts: HashMap::new(), with_password: Vec::new(), with_scram: Vec::new(), seed };
        for account in file.account {
            let at = account.span().start;
            book.add(account.into_inner()).map_err(|problem| (line(at), problem))?;
        }
        Ok(book)
    }

    fn add(&mut self, text: AccountText) -> Result<(), Problem> {
        let account = Arc::new(Account::new(text)?);
        if account.password.is_some() {
            self.with_password.push(Arc::clone(&account));
        }
        if account.scram.is_some() {
            self.with_scram.push(Arc::clone(&account));
        }
        match self.accounts.insert(account.name.clone(), Arc::clone(&account)) {
            Some(_) => Err(Problem::Twice { name: account.name.to_string() }),
            None => Ok(()),
        }
    }

    pub(crate) fn account(&self, name: &str) -> Option<&Arc<Account>> {
        self.accounts.get(name)
    }

    /// Whose password an unknown name is checked against: always the same one's, so that unknown names
    /// take as long as known ones do.
    pub(crate) fn stand_in(&self, name: &str) -> Option<&Arc<Account>> {
        self.pick(&self.with_password, name)
    }

    /// What an unknown name is told of SCRAM: a salt of its own, and as many iterations as somebody has.
    pub(crate) fn invented_keys(&self, name: &str) -> Keys {
        let like = self.pick(&self.with_scram, name).and_then(|account| account.scram.as_ref());
        Keys::invented(hmac::sign(&self.seed, &[b"scram:", name.as_bytes()].concat()).as_ref(), like)
    }

    fn pick<'a>(&self, among: &'a [Arc<Account>], name: &str) -> Option<&'a Arc<Account>> {
        let tag = hmac::sign(&self.seed, &[b"pick:", name.as_bytes()].concat());
        let mut first = [0; 8];
        first.copy_from_slice(&tag.as_ref()[..8]);
        let at = u64::from_be_bytes(first).checked_rem(among.len() as u64)?;
        among.get(usize::try_from(at).ok()?)
    }
}

impl Account {
    fn new(text: AccountText) -> Result<Account, Problem> {
        let AccountText { name, password, scram, roles } = text;
        if !is_name(&name) {
            return Err(Problem::Name);
        }
        if roles.iter().any(String::is_empty) {
            return Err(Problem::Role { name });
        }
        if password.is_none() && scram.is_none() {
            return Err(Problem::Nothing { name });
        }
        let none = String::new();
        let kept = [password.as_ref().unwrap_or(&none), scram.as_ref().unwrap_or(&none)];
        let stamp = fingerprint(kept.into_iter().chain(&roles).map(String::as_bytes));
        let password = password.as_deref().map(Password::parse).transpose();
        let password = password.map_err(|problem| Problem::Password { name: name.clone(), problem })?;
        let scram = scram.as_deref().map(Keys::parse).transpose();
        let scram = scram.map_err(|problem| Problem::Scram { name: name.clone(), problem })?;
        let roles = roles.into_iter().map(Arc::from).collect();
        Ok(Account { name: Arc::from(name), roles, password, scram, stamp })
    }
}

pub(super) fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control)
}

fn key_of(seed: &str) -> Option<hmac::Key> {
    let bytes = STANDARD.decode(seed).ok().filter(|bytes| bytes.len() >= 16)?;
    Some(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

/// Without a seed in the file one is made that holds until the file is read again.
fn random_key() -> hmac::Key {
    hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
        .unwrap_or_else(|_| hmac::Key::new(hmac::HMAC_SHA256, &std::process::id().to_be_bytes()))
}

/// Hashes can be guessed at home by whoever can read them.
fn warn_of_readers(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o007 != 0 {
        tracing::warn!(file = %path.display(), mode = format!("{:o}", mode & 0o777), "everybody on this machine may read the accounts");
    }
}
