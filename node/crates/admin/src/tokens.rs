//! Bearer tokens: made once, kept as hashes in a file, read again when somebody else has changed it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use metrics::counter;
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;

use crate::scope::{NotAScope, Scopes};

const PREFIX: &str = "weir_";
const ID_BYTES: usize = 8;
/// 256 bits: nobody guesses them, so that one round of SHA-256 keeps them.
const SECRET_BYTES: usize = 32;

/// Bytes of a name, of the file, and tokens in it.
const NAME_BYTES_MAX: usize = 256;
const FILE_BYTES_MAX: u64 = 4 << 20;
const TOKENS_MAX: usize = 10_000;

/// How often the file is looked at while tokens are shown.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

const HEADER: &str = "# The tokens of a Weir node's administration, as hashes. Change it with `weir token`; a running node notices.\n\n";

/// A token as it is kept and may be shown: its secret is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    pub id: String,
    /// Whose or what for.
    pub name: String,
    /// SHA-256 of the secret, in hex.
    hash: String,
    pub scopes: Vec<String>,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// 0 = never.
    #[serde(default)]
    pub expires_ms: u64,
}

impl Token {
    fn unless_over(self) -> Result<Token, NotTaken> {
        match self.expires_ms {
            ends if ends > 0 && ends <= now_ms() => Err(NotTaken::Expired),
            _ => Ok(self),
        }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    #[serde(default)]
    token: Vec<Token>,
}

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It is no token, or none of this node's: which of both is not said.
    #[error("the token is not one of this node")]
    Unknown,
    #[error("the token has expired")]
    Expired,
}

/// Why the tokens were not changed, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("cannot {what} {}: {error}", path.display())]
    Io { what: &'static str, path: PathBuf, error: io::Error },
    #[error("{} is no file of tokens: {problem}", path.display())]
    Malformed { path: PathBuf, problem: String },
    #[error("the name has 1 to {NAME_BYTES_MAX} bytes and no control characters")]
    Name,
    #[error("a token without a scope could do nothing")]
    NoScope,
    #[error(transparent)]
    Scope(#[from] NotAScope),
    #[error("there are {TOKENS_MAX} tokens already")]
    TooMany,
    #[error("there is no token with this id")]
    Unknown,
    #[error("the system gives no random numbers")]
    Random,
}

/// The tokens of a node.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    held: Mutex<Held>,
    /// Told whenever they may be others.
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Held {
    looked: Option<Instant>,
    /// How the file looked when it was last read.
    look: Option<Look>,
    tokens: Arc<Vec<Token>>,
}

type Look = (SystemTime, u64, u64);

impl Tokens {
    /// Those of this file, which need not be there yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, held: Mutex::default(), changed: watch::Sender::default() }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose token it is, if it is good now.
    ///
    /// # Errors
    /// See [`NotTaken`].
    pub fn check(&self, text: &str) -> Result<Token, NotTaken> {
        let parts = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_'));
        let (id, secret) = parts.ok_or(NotTaken::Unknown)?;
        let hash = hash(secret);
        self.look_again(LOOK_AGAIN);
        let token = self.find(id, &hash).or_else(|| {
            // Another process may have made it just now.
            self.look_again(Duration::ZERO);
            self.find(id, &hash)
        });
        token.ok_or(NotTaken::Unknown)?.unless_over()
    }

    /// A token that was good before, as it is now, as far as the file was read: [`Tokens::mind`] does.
    ///
    /// # Errors
    /// See [`NotTaken`].
    pub fn stands(&self, token: &Token) -> Result<Token, NotTaken> {
        self.find(&token.id, &token.hash).ok_or(NotTaken::Unknown)?.unless_over()
    }

    /// Hears whenever the tokens may be others.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Looks at the file every second while somebody listens for changes, for ever.
    pub async fn mind(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            if self.changed.receiver_count() > 0 {
                let tokens = self.clone();
                // It is looked at again in a second, whatever came in the way.
                let _ = tokio::task::spawn_blocking(move || tokens.look_again(Duration::ZERO)).await;
            }
        }
    }

    fn find(&self, id: &str, hash: &str) -> Option<Token> {
        let tokens = self.held.lock().tokens.clone();
        let same =
            |token: &&Token| token.id == id && bool::from(token.hash.as_bytes().ct_eq(hash.as_bytes()));
        tokens.iter().find(same).cloned()
    }

    /// All of them, in the order in which they were made. Blocks on the file system.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn list(&self) -> Result<Vec<Token>, TokenError> {
        Ok(read(&self.path)?.token)
    }

    /// Makes a token; its text is in nobody's hands but the caller's. Blocks on the file system.
    ///
    /// # Errors
    /// A name or scope that is none, or the file cannot be changed.
    pub fn create(
        &self,
        name: &str,
        scopes: &[String],
        expires_in: Option<Duration>,
    ) -> Result<(Token, String), TokenError> {
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) || name.contains(char::is_control) {
            return Err(TokenError::Name);
        }
        let scopes = Scopes::parse(scopes)?;
        if scopes.is_empty() {
            return Err(TokenError::NoScope);
        }
        let (id, secret) = (random::<ID_BYTES>()?, random::<SECRET_BYTES>()?);
        let created_ms = now_ms();
        let lasts = expires_in.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let token = Token {
            id,
            name: name.to_owned(),
            hash: hash(&secret),
            scopes: scopes.to_vec(),
            created_ms,
            // TOML knows no number beyond i64.
            expires_ms: lasts.map_or(0, |ms| created_ms.saturating_add(ms).min(i64::MAX as u64)),
        };
        let text = format!("{PREFIX}{}_{secret}", token.id);
        self.change(|kept| {
            if kept.token.len() >= TOKENS_MAX {
                return Err(TokenError::TooMany);
            }
            kept.token.push(token.clone());
            Ok(())
        })?;
        Ok((token, text))
    }

    /// Takes a token away. Blocks on the file system.
    ///
    /// # Errors
    /// [`TokenError::Unknown`], or the file cannot be changed.
    pub fn revoke(&self, id: &str) -> Result<(), TokenError> {
        self.change(|kept| {
            let before = kept.token.len();
            kept.token.retain(|token| token.id != id);
            if kept.token.len() < before { Ok(()) } else { Err(TokenError::Unknown) }
        })
    }

    /// Reads the file again now. Blocks on the file system.
    ///
    /// # Errors
    /// It cannot be used; the old tokens stay.
    pub fn reload(&self) -> Result<(), TokenError> {
        let look = look(&self.path);
        let kept = read(&self.path)?;
        *self.held.lock() = Held { looked: Some(Instant::now()), look, tokens: Arc::new(kept.token) };
        self.changed.send_replace(());
        Ok(())
    }

    /// Changes the file as a whole or not at all; nobody else does meanwhile.
    fn change(&self, change: impl FnOnce(&mut Kept) -> Result<(), TokenError>) -> Result<(), TokenError> {
        let path = &self.path;
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let failed = |what, error| TokenError::Io { what, path: directory.to_owned(), error };
        let lock = File::open(directory).map_err(|error| failed("open the directory", error))?;
        lock.lock().map_err(|error| failed("lock the directory", error))?;
        let mut kept = read(path)?;
        change(&mut kept)?;
        let text = toml::to_string(&kept)
            .map_err(|error| TokenError::Malformed { path: path.clone(), problem: error.to_string() })?;
        let beside = path.with_extension(format!("new-{}", std::process::id()));
        let written = write_new(&beside, &format!("{HEADER}{text}")).and_then(|()| fs::rename(&beside, path));
        written.map_err(|error| {
            // The old file stands; what was begun is of no use.
            let _ = fs::remove_file(&beside);
            TokenError::Io { what: "write", path: path.clone(), error }
        })?;
        // The rename is on disk when the directory is.
        let _ = lock.sync_all();
        self.look_again(Duration::ZERO);
        Ok(())
    }

    /// Reads the file again if it has changed, unless it was looked at within `pause`.
    fn look_again(&self, pause: Duration) {
        let mut held = self.held.lock();
        if held.looked.is_some_and(|looked| looked.elapsed() < pause) {
            return;
        }
        held.looked = Some(Instant::now());
        let look = look(&self.path);
        if look == held.look {
            return;
        }
        held.look = look;
        match read(&self.path) {
            Ok(kept) => {
                held.tokens = Arc::new(kept.token);
                drop(held);
                self.changed.send_replace(());
            }
            Err(error) => {
                counter!("weir_admin_token_file_failures_total").increment(1);
                tracing::error!(%error, "the tokens file has changed and cannot be used; the old tokens stay");
            }
        }
    }
}

fn look(path: &Path) -> Option<Look> {
    let found = fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len(), found.ino()))
}

/// A file that is not there has no tokens.
fn read(path: &Path) -> Result<Kept, TokenError> {
    let failed = |error| TokenError::Io { what: "read", path: path.to_owned(), error };
    let malformed = |problem: String| TokenError::Malformed { path: path.to_owned(), problem };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::default()),
        Err(error) => return Err(failed(error)),
        Ok(found) if found.len() > FILE_BYTES_MAX => {
            return Err(malformed(format!("it is longer than {FILE_BYTES_MAX} bytes")));
        }
        Ok(_) => {}
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let kept: Kept = toml::from_str(&text).map_err(|error| malformed(error.message().to_owned()))?;
    for token in &kept.token {
        Scopes::parse(&token.scopes).map_err(|error| malformed(error.to_string()))?;
    }
    Ok(kept)
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn random<const BYTES: usize>() -> Result<String, TokenError> {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| TokenError::Random)?;
    Ok(hex(&bytes))
}

fn hash(secret: &str) -> String {
    hex(digest(&SHA256, secret.as_bytes()).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> (tempfile::TempDir, Tokens) {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::new(dir.path().join("tokens.toml"));
        (dir, tokens)
    }

    fn scopes(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_token_is_good_until_it_is_revoked_and_its_secret_is_nowhere() {
        let (_dir, tokens) = tokens();
        let (made, text) = tokens.create("ci", &scopes(&["sessions:read"]), None).unwrap();
        assert_eq!(tokens.check(&text), Ok(made.clone()));
        let file = fs::read_to_string(tokens.path()).unwrap();
        assert!(!file.contains(text.rsplit('_').next().unwrap()), "{file}");
        assert_eq!(fs::metadata(tokens.path()).unwrap().mode() & 0o777, 0o600);
        tokens.revoke(&made.id).unwrap();
        assert_eq!(tokens.check(&text), Err(NotTaken::Unknown));
        assert!(matches!(tokens.revoke(&made.id), Err(TokenError::Unknown)));
    }

    #[test]
    fn a_token_ends_when_its_time_is_over() {
        let (_dir, tokens) = tokens();
        let (_, text) = tokens.create("short", &scopes(&["watch"]), Some(Duration::ZERO)).unwrap();
        assert_eq!(tokens.check(&text), Err(NotTaken::Expired));
        let forever = Some(Duration::from_secs(u64::MAX));
        let (_, text) = tokens.create("long", &scopes(&["watch"]), forever).unwrap();
        assert!(tokens.check(&text).is_ok());
    }

    #[test]
    fn texts_that_are_no_token_are_none_of_this_node() {
        let (_dir, tokens) = tokens();
        let (_, text) = tokens.create("ci", &scopes(&["admin"]), None).unwrap();
        let (other, cut) = (text.replace("weir_", "weir_0"), &text[..text.len() - 1]);
        for text in ["", "weir_", "weir__", "Bearer", &other, cut, &"a".repeat(100_000)] {
            assert_eq!(tokens.check(text), Err(NotTaken::Unknown));
        }
    }

    #[test]
    fn what_another_process_changes_is_noticed_and_what_it_breaks_is_not_taken() {
        let (_dir, tokens) = tokens();
        let (made, text) = tokens.create("ci", &scopes(&["admin"]), None).unwrap();
        Tokens::new(tokens.path().to_owned()).revoke(&made.id).unwrap();
        tokens.look_again(Duration::ZERO);
        assert_eq!(tokens.check(&text), Err(NotTaken::Unknown));
        let (_, text) = tokens.create("ci", &scopes(&["admin"]), None).unwrap();
        fs::write(tokens.path(), "[[token]]\nid = 7").unwrap();
        tokens.look_again(Duration::ZERO);
        assert!(tokens.check(&text).is_ok());
        assert!(tokens.reload().is_err() && tokens.list().is_err());
    }

    #[test]
    fn names_and_scopes_that_are_none_are_refused() {
        let (_dir, tokens) = tokens();
        assert!(matches!(tokens.create("", &scopes(&["admin"]), None), Err(TokenError::Name)));
        assert!(matches!(tokens.create("a\n", &scopes(&["admin"]), None), Err(TokenError::Name)));
        assert!(matches!(tokens.create("a", &[], None), Err(TokenError::NoScope)));
        assert!(matches!(tokens.create("a", &scopes(&["all"]), None), Err(TokenError::Scope(_))));
        assert!(!tokens.path().exists());
    }
}
