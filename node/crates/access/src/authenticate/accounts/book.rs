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

use super::super::cryptosign::PublicKey;
use super::super::fingerprint;
use super::super::scram::{BadKeys, Keys};
use super::super::wampcra::{BadKey, Key};
use super::password::{BadHash, Password};
use crate::load::{LoadError, read};

/// Bytes of an accounts file: some 200,000 accounts.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Bytes of a name.
const NAME_BYTES_MAX: usize = 1024;

/// Bytes of the name of a realm.
const REALM_BYTES_MAX: usize = 255;

/// Somebody with a password, or with a key.
pub(crate) struct Account {
    pub(crate) name: Arc<str>,
    pub(crate) roles: Vec<Arc<str>>,
    /// Where it may be; empty = everywhere. The first is where its MQTT clients are.
    pub(crate) realms: Vec<Arc<str>>,
    pub(crate) password: Option<Password>,
    pub(crate) scram: Option<Keys>,
    pub(crate) wampcra: Option<Key>,
    /// For cryptosign.
    public_keys: Vec<PublicKey>,
    /// Changes with the password, the keys, the roles and the realms.
    pub(crate) stamp: u64,
}

/// All accounts at one moment.
pub(crate) struct Book {
    accounts: HashMap<Arc<str>, Arc<Account>>,
    /// Those with a password, for [`Book::stand_in`].
    with_password: Vec<Arc<Account>>,
    /// Those with SCRAM keys.
    with_scram: Vec<Arc<Account>>,
    /// Those with a key for WAMP-CRA.
    with_wampcra: Vec<Arc<Account>>,
    owners: HashMap<PublicKey, Arc<Account>>,
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
    #[error("the account `{name}` has neither `password` nor `scram`, `wampcra` or `public_keys`")]
    Nothing { name: String },
    #[error("the account `{name}`: {problem}")]
    Password { name: String, problem: BadHash },
    #[error("the account `{name}`: {problem}")]
    Scram { name: String, problem: BadKeys },
    #[error("the account `{name}`: {problem}")]
    WampCra { name: String, problem: BadKey },
    #[error("the account `{name}` has a public key that is not 64 hexadecimal digits (Ed25519)")]
    PublicKey { name: String },
    #[error("the account `{name}` has a public key that is somebody's already")]
    KeyTwice { name: String },
    #[error("the account `{name}` has a role without a name")]
    Role { name: String },
    #[error(
        "the account `{name}` has a realm that cannot be one: 1 to {REALM_BYTES_MAX} letters, digits, `_`, `-` and `.`"
    )]
    Realm { name: String },
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
    wampcra: Option<String>,
    #[serde(default)]
    public_keys: Vec<String>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    realms: Vec<String>,
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
        let mut book = Book {
            accounts: HashMap::new(),
            with_password: Vec::new(),
            with_scram: Vec::new(),
            with_wampcra: Vec::new(),
            owners: HashMap::new(),
            seed,
        };
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
        if account.wampcra.is_some() {
            self.with_wampcra.push(Arc::clone(&account));
        }
        for key in &account.public_keys {
            if self.owners.insert(*key, Arc::clone(&account)).is_some() {
                return Err(Problem::KeyTwice { name: account.name.to_string() });
            }
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

    /// The same for WAMP-CRA.
    pub(crate) fn invented_key(&self, name: &str) -> Key {
        let like = self.pick(&self.with_wampcra, name).and_then(|account| account.wampcra.as_ref());
        Key::invented(hmac::sign(&self.seed, &[b"wampcra:", name.as_bytes()].concat()).as_ref(), like)
    }

    /// Whose public key this is.
    pub(crate) fn owner_of(&self, key: PublicKey) -> Option<&Arc<Account>> {
        self.owners.get(&key)
    }

    /// Whether anybody has a key for WAMP-CRA.
    pub(crate) fn has_wampcra(&self) -> bool {
        !self.with_wampcra.is_empty()
    }

    /// Whether anybody has a public key.
    pub(crate) fn has_public_keys(&self) -> bool {
        !self.owners.is_empty()
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
        let AccountText { name, password, scram, wampcra, public_keys, roles, realms } = text;
        if !is_name(&name) {
            return Err(Problem::Name);
        }
        if roles.iter().any(String::is_empty) {
            return Err(Problem::Role { name });
        }
        if !realms.iter().all(|realm| is_realm(realm)) {
            return Err(Problem::Realm { name });
        }
        if password.is_none() && scram.is_none() && wampcra.is_none() && public_keys.is_empty() {
            return Err(Problem::Nothing { name });
        }
        let stamp = stamp([&password, &scram, &wampcra], [&roles, &realms, &public_keys]);
        let password = password.as_deref().map(Password::parse).transpose();
        let password = password.map_err(|problem| Problem::Password { name: name.clone(), problem })?;
        let scram = scram.as_deref().map(Keys::parse).transpose();
        let scram = scram.map_err(|problem| Problem::Scram { name: name.clone(), problem })?;
        let wampcra = wampcra.as_deref().map(Key::parse).transpose();
        let wampcra = wampcra.map_err(|problem| Problem::WampCra { name: name.clone(), problem })?;
        let public_keys = public_keys.iter().map(|key| PublicKey::parse(key)).collect::<Option<_>>();
        let public_keys = public_keys.ok_or_else(|| Problem::PublicKey { name: name.clone() })?;
        let roles = roles.into_iter().map(Arc::from).collect();
        let realms = realms.into_iter().map(Arc::from).collect();
        Ok(Account { name: Arc::from(name), roles, realms, password, scram, wampcra, public_keys, stamp })
    }
}

/// Another for everything that another proof or another right follows from. An account without what only WAMP knows
/// has the stamp that it had before WAMP.
fn stamp(kept: [&Option<String>; 3], lists: [&Vec<String>; 3]) -> u64 {
    let [password, scram, wampcra] = kept.map(|text| text.as_deref().unwrap_or_default().as_bytes());
    let [roles, realms, public_keys] = lists.map(|list| list.iter().map(String::as_bytes));
    let of_mqtt = [password, scram].into_iter().chain(roles);
    if wampcra.is_empty() && realms.len() == 0 && public_keys.len() == 0 {
        return fingerprint(of_mqtt);
    }
    let begins = |name: &'static [u8]| [b"\0".as_slice(), name].into_iter();
    let of_wamp = begins(b"wampcra").chain([wampcra]).chain(begins(b"realms")).chain(realms);
    fingerprint(of_mqtt.chain(of_wamp).chain(begins(b"public_keys")).chain(public_keys))
}

pub(super) fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control)
}

/// As `[gateway.wamp]` takes them from clients.
pub(crate) fn is_realm(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (1..=REALM_BYTES_MAX).contains(&name.len()) && name.chars().all(is_plain)
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
