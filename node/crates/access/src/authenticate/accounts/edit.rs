//! Changes an accounts file, keeping its comments and its order; for `weir account`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use argon2::Params;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};

use super::super::cryptosign::PublicKey;
use super::super::scram::{ITERATIONS_MIN, Keys};
use super::super::wampcra::Key;
use super::book::{Book, is_name, is_realm};
use super::password;
use crate::load::LoadError;

/// What a new file begins with.
const HEADER: &str =
    "# The accounts of a Weir node. Change it with `weir account`; a running node notices.\n\n";

/// Bytes of a new seed.
const SEED_BYTES: usize = 32;

/// An accounts file that nobody else changes meanwhile: its directory is locked until this is dropped.
pub struct AccountFile {
    path: PathBuf,
    document: DocumentMut,
    /// Of new password hashes: 19 MiB and two passes.
    cost: Params,
    /// Holds the lock.
    _directory: File,
}

/// An account to be made.
#[derive(Clone, Default)]
pub struct NewAccount {
    pub name: String,
    /// Not needed by who has a public key.
    pub password: Option<String>,
    pub roles: Vec<String>,
    /// Where it may be; empty = everywhere.
    pub realms: Vec<String>,
    /// Ed25519 keys for cryptosign, each in 64 hexadecimal digits.
    pub public_keys: Vec<String>,
    /// Whether the key for WAMP-CRA is kept, which is as good as the password there.
    pub wampcra: bool,
}

/// An account as it may be shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    pub roles: Vec<String>,
    /// Where it may be; empty = everywhere.
    pub realms: Vec<String>,
    /// Ed25519 keys for cryptosign, in hexadecimal digits.
    pub public_keys: Vec<String>,
    /// `argon2id`, `bcrypt`, or none at all.
    pub password: Option<&'static str>,
    /// Whether it has keys for SCRAM-SHA-256.
    pub scram: bool,
    /// Whether it has a key for WAMP-CRA.
    pub wampcra: bool,
}

/// Why an accounts file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("cannot {what} {}: {error}", path.display())]
    Io { what: &'static str, path: PathBuf, error: io::Error },
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("{} is not TOML any more", path.display())]
    Syntax { path: PathBuf },
    #[error("`{name}` cannot be a name: it has 1 to 1024 bytes and no control characters")]
    Name { name: String },
    #[error("there is an account `{name}` already; `weir account passwd` gives it another password")]
    Exists { name: String },
    #[error("there is no account `{name}`")]
    Unknown { name: String },
    #[error("the password is empty")]
    EmptyPassword,
    #[error("the password cannot be kept: {problem}")]
    Password { problem: &'static str },
    #[error("`{realm}` cannot be a realm: it has 1 to 255 letters, digits, `_`, `-` and `.`")]
    Realm { realm: String },
    #[error("`{key}` is not an Ed25519 public key: that has 64 hexadecimal digits")]
    PublicKey { key: String },
    #[error("the public key `{key}` is that of the account `{name}` already")]
    KeyTaken { key: String, name: String },
    #[error("a key for WAMP-CRA is made of the password, and there is none")]
    NothingToDerive,
}

impl AccountFile {
    /// Opens the file, or begins an empty one where there is none, and keeps others from changing it.
    ///
    /// # Errors
    /// It cannot be read, or what is in it is wrong; its line is named.
    pub fn open(path: &Path) -> Result<AccountFile, AccountError> {
        // Through a link the file itself is replaced, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let failed = |what, error| AccountError::Io { what, path: directory.to_owned(), error };
        let lock = File::open(directory).map_err(|error| failed("open the directory", error))?;
        lock.lock().map_err(|error| failed("lock the directory", error))?;
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                format!("{HEADER}seed = \"{}\"\n", new_seed()?)
            }
            Err(error) => return Err(AccountError::Io { what: "read", path, error }),
        };
        if path.exists() {
            Book::load(&path)?;
        }
        let document = text.parse().map_err(|_| AccountError::Syntax { path: path.clone() })?;
        Ok(AccountFile { path, document, cost: Params::DEFAULT, _directory: lock })
    }

    /// All accounts, in the order of the file.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        self.tables().map(listed).collect()
    }

    /// A new account: of its password an argon2id hash is kept, the keys for SCRAM-SHA-256, and if it is wanted the
    /// key for WAMP-CRA. `iterations`: of these keys.
    ///
    /// # Errors
    /// The name is taken or no name, the password empty, a realm or a public key is none, or the system gives no
    /// random numbers.
    pub fn add(&mut self, new: &NewAccount, iterations: u32) -> Result<(), AccountError> {
        self.check(new)?;
        let mut account = Table::new();
        account["name"] = value(&new.name);
        match &new.password {
            Some(password) => set_password(&mut account, password, &self.cost, new.wampcra, iterations)?,
            None if new.wampcra => return Err(AccountError::NothingToDerive),
            None if new.public_keys.is_empty() => return Err(AccountError::EmptyPassword),
            None => {}
        }
        for (name, list) in
            [("public_keys", &new.public_keys), ("roles", &new.roles), ("realms", &new.realms)]
        {
            if !list.is_empty() {
                account[name] = value(list.iter().collect::<Array>());
            }
        }
        let accounts = self.document.entry("account").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
        match accounts.as_array_of_tables_mut() {
            Some(accounts) => accounts.push(account),
            None => return Err(AccountError::Syntax { path: self.path.clone() }),
        }
        Ok(())
    }

    /// What would be refused when the file is read.
    fn check(&self, new: &NewAccount) -> Result<(), AccountError> {
        let name = new.name.clone();
        if !is_name(&name) {
            return Err(AccountError::Name { name });
        }
        if self.tables().any(|account| is_of(account, &name)) {
            return Err(AccountError::Exists { name });
        }
        if let Some(realm) = new.realms.iter().find(|realm| !is_realm(realm)) {
            return Err(AccountError::Realm { realm: realm.clone() });
        }
        let mut taken: Vec<(PublicKey, String)> = Vec::new();
        for listed in self.list() {
            let keys = listed.public_keys.iter().filter_map(|key| PublicKey::parse(key));
            taken.extend(keys.map(|key| (key, listed.name.clone())));
        }
        for text in &new.public_keys {
            let key = PublicKey::parse(text);
            let key = key.ok_or_else(|| AccountError::PublicKey { key: text.clone() })?;
            if let Some((_, name)) = taken.iter().find(|(known, _)| *known == key) {
                return Err(AccountError::KeyTaken { key: text.clone(), name: name.clone() });
            }
            taken.push((key, name.clone()));
        }
        Ok(())
    }

    /// Another password for an account; its sessions end. `wampcra`: the key for WAMP-CRA is kept from now on, as it is
    /// anyway where there was one.
    ///
    /// # Errors
    /// As for [`AccountFile::add`]; or there is no such account.
    pub fn set_password(
        &mut self,
        name: &str,
        password: &str,
        wampcra: bool,
        iterations: u32,
    ) -> Result<(), AccountError> {
        let accounts = self.document.get_mut("account").and_then(Item::as_array_of_tables_mut);
        let account = accounts.and_then(|all| all.iter_mut().find(|account| is_of(account, name)));
        let account = account.ok_or_else(|| AccountError::Unknown { name: name.to_owned() })?;
        let wampcra = wampcra || account.contains_key("wampcra");
        set_password(account, password, &self.cost, wampcra, iterations)
    }

    /// Takes an account away; its sessions end.
    ///
    /// # Errors
    /// There is no such account.
    pub fn remove(&mut self, name: &str) -> Result<(), AccountError> {
        let accounts = self.document.get_mut("account").and_then(Item::as_array_of_tables_mut);
        let there = accounts.and_then(|all| {
            let at = all.iter().position(|account| is_of(account, name))?;
            all.remove(at);
            Some(())
        });
        there.ok_or_else(|| AccountError::Unknown { name: name.to_owned() })
    }

    /// Writes the file as a whole or not at all: into a new one beside it, which then takes its place. Only
    /// its owner may read it, and a group that could before.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(mut self) -> Result<(), AccountError> {
        self.have_seed()?;
        let text = self.document.to_string();
        let beside = self.path.with_extension(format!("new-{}", std::process::id()));
        let written = write_new(&beside, &text, fs::metadata(&self.path).ok());
        let written = written.and_then(|()| fs::rename(&beside, &self.path));
        written.map_err(|error| {
            // The old file stands; what was begun is of no use.
            let _ = fs::remove_file(&beside);
            AccountError::Io { what: "write", path: self.path.clone(), error }
        })?;
        // The rename is on disk when the directory is.
        let _ = self._directory.sync_all();
        Ok(())
    }

    fn tables(&self) -> impl Iterator<Item = &Table> {
        self.document.get("account").and_then(Item::as_array_of_tables).into_iter().flatten()
    }

    /// What unknown names are told must be the same after a restart too.
    fn have_seed(&mut self) -> Result<(), AccountError> {
        if !self.document.contains_key("seed") {
            self.document.insert("seed", value(new_seed()?));
        }
        Ok(())
    }
}

fn new_seed() -> Result<String, AccountError> {
    let mut seed = [0; SEED_BYTES];
    let filled = SystemRandom::new().fill(&mut seed);
    filled.map_err(|_| AccountError::Password { problem: "the system gives no random numbers" })?;
    Ok(STANDARD.encode(seed))
}

fn is_of(account: &Table, name: &str) -> bool {
    account.get("name").and_then(Item::as_str) == Some(name)
}

fn listed(account: &Table) -> Listed {
    let text = |key| account.get(key).and_then(Item::as_str);
    let texts = |key| {
        let list = account.get(key).and_then(Item::as_array).into_iter().flatten();
        list.filter_map(|text| text.as_str()).map(str::to_owned).collect()
    };
    Listed {
        name: text("name").unwrap_or_default().to_owned(),
        roles: texts("roles"),
        realms: texts("realms"),
        public_keys: texts("public_keys"),
        password: text("password")
            .and_then(|hash| password::Password::parse(hash).ok())
            .map(|hash| hash.kind()),
        scram: text("scram").is_some(),
        wampcra: text("wampcra").is_some(),
    }
}

fn set_password(
    account: &mut Table,
    password: &str,
    cost: &Params,
    wampcra: bool,
    iterations: u32,
) -> Result<(), AccountError> {
    if password.is_empty() {
        return Err(AccountError::EmptyPassword);
    }
    let problem = |problem| AccountError::Password { problem };
    let iterations = iterations.max(ITERATIONS_MIN);
    account["password"] = value(password::hash(password.as_bytes(), cost).map_err(problem)?);
    account["scram"] = value(Keys::make(password, iterations).map_err(problem)?.to_text());
    if wampcra {
        account["wampcra"] = value(Key::make(password, iterations).map_err(problem)?.to_text());
    }
    Ok(())
}

fn write_new(path: &Path, text: &str, old: Option<fs::Metadata>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    if let Some(old) = old {
        let new = file.metadata()?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        let mode = 0o600 | (old.permissions().mode() & 0o060);
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
