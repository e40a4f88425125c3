//! What `weir account` writes, and what it leaves alone.

use super::*;

const OLD: &str = "# who may in\nseed = \"c2VlZCBvZiB0aGUgdGVzdHMsIGxvbmc=\"\n\n# the first\n[[account]]\nname = \"ann\" # she\npassword = \"$2b$04$abcdefghijklmnopqrstuuvuTSpE1QHPFkRTB9vA5OJlAjOxJYyQO\"\n";

fn open(path: &Path) -> AccountFile {
    let mut file = AccountFile::open(path).unwrap();
    file.cost = Params::new(8, 1, 1, None).unwrap();
    file
}

fn add(file: &mut AccountFile, name: &str, password: &str) -> Result<(), AccountError> {
    let password = Some(password.to_owned());
    file.add(&NewAccount { name: name.to_owned(), password, ..NewAccount::default() }, 4096)
}

fn names(path: &Path) -> Vec<String> {
    open(path).list().into_iter().map(|account| account.name).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_file_is_made_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("accounts.toml");
    let mut file = open(&path);
    let (name, password) = ("ann".to_owned(), Some("apple".to_owned()));
    let roles = vec!["device".to_owned()];
    file.add(&NewAccount { name, password, roles, ..NewAccount::default() }, 4096).unwrap();
    assert!(!path.exists(), "nothing is there before it is whole");
    file.save().unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    let listed = open(&path).list();
    let ann = Listed {
        name: "ann".to_owned(),
        roles: vec!["device".to_owned()],
        password: Some("argon2id"),
        scram: true,
        ..Listed::default()
    };
    assert_eq!(listed, [ann]);
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text.starts_with("# The accounts") && text.contains("seed = ") && !text.contains("apple"),
        "{text}"
    );
}

#[test]
fn what_is_added_can_be_proved_and_what_is_changed_or_removed_cannot() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("accounts.toml");
    let proves = |name: &str, password: &str| {
        let book = Book::load(&path).unwrap();
        book.account(name).is_some_and(|own| own.password.as_ref().unwrap().is(password.as_bytes()))
    };
    let mut file = open(&path);
    add(&mut file, "ann", "apple").unwrap();
    add(&mut file, "bob", "banana").unwrap();
    file.save().unwrap();
    assert!(proves("ann", "apple") && proves("bob", "banana") && !proves("ann", "banana"));
    let mut file = open(&path);
    file.set_password("ann", "pear", false, 4096).unwrap();
    file.save().unwrap();
    assert!(proves("ann", "pear") && !proves("ann", "apple"));
    let mut file = open(&path);
    file.remove("ann").unwrap();
    file.save().unwrap();
    assert!(!proves("ann", "pear") && proves("bob", "banana"));
}

#[test]
fn comments_and_order_stay() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("accounts.toml");
    fs::write(&path, OLD).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut file = open(&path);
    add(&mut file, "bob", "banana").unwrap();
    file.save().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with(OLD), "{text}");
    assert_eq!(names(&path), ["ann", "bob"]);
    assert_eq!(mode(&path), 0o640, "the group still may, the rest of the world never");
}

#[test]
fn nothing_is_changed_by_what_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("accounts.toml");
    fs::write(&path, OLD).unwrap();
    let mut file = open(&path);
    assert!(matches!(add(&mut file, "ann", "x"), Err(AccountError::Exists { .. })));
    assert!(matches!(add(&mut file, "", "x"), Err(AccountError::Name { .. })));
    assert!(matches!(add(&mut file, "a\nb", "x"), Err(AccountError::Name { .. })));
    assert!(matches!(add(&mut file, "cy", ""), Err(AccountError::EmptyPassword)));
    assert!(matches!(file.set_password("cy", "x", false, 4096), Err(AccountError::Unknown { .. })));
    assert!(matches!(file.remove("cy"), Err(AccountError::Unknown { .. })));
    file.save().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), OLD);
    fs::write(&path, "[[account]]\nname = 1").unwrap();
    let refused = AccountFile::open(&path).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("accounts.toml:2"), "{refused}");
    let nowhere = AccountFile::open(&dir.path().join("no/where.toml")).map(|_| ()).unwrap_err();
    assert!(matches!(nowhere, AccountError::Io { .. }));
}

#[test]
fn through_a_link_the_file_itself_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, link) = (dir.path().join("accounts.toml"), dir.path().join("link.toml"));
    fs::write(&path, OLD).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let mut file = open(&link);
    file.remove("ann").unwrap();
    file.save().unwrap();
    assert!(link.is_symlink() && names(&path).is_empty());
}

#[test]
fn two_who_change_it_at_once_do_it_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("accounts.toml");
    std::thread::scope(|scope| {
        for at in 0..4 {
            let path = &path;
            scope.spawn(move || {
                let mut file = open(path);
                add(&mut file, &format!("user{at}"), "x").unwrap();
                file.save().unwrap();
            });
        }
    });
    let mut all = names(&path);
    all.sort();
    assert_eq!(all, ["user0", "user1", "user2", "user3"]);
}

#[test]
fn a_key_for_wampcra_is_kept_only_where_it_is_wanted_and_follows_the_password() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("accounts.toml");
    let key = |name: &str| Book::load(&path).unwrap().account(name).unwrap().wampcra.clone();
    let mut file = open(&path);
    add(&mut file, "ann", "apple").unwrap();
    let (name, password) = ("bob".to_owned(), Some("banana".to_owned()));
    file.add(&NewAccount { name, password, wampcra: true, ..NewAccount::default() }, 4096).unwrap();
    file.save().unwrap();
    let before = key("bob").unwrap();
    assert!(key("ann").is_none());
    let mut file = open(&path);
    file.set_password("ann", "apple", true, 4096).unwrap();
    file.set_password("bob", "pear", false, 4096).unwrap();
    file.save().unwrap();
    assert!(key("ann").is_some() && key("bob").unwrap() != before);
}

#[test]
fn an_account_may_have_a_public_key_instead_of_a_password_and_nobody_else_the_same_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("accounts.toml");
    let new = |name: &str, keys: &[&str], realms: &[&str]| NewAccount {
        name: name.to_owned(),
        public_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        realms: realms.iter().map(|realm| (*realm).to_owned()).collect(),
        ..NewAccount::default()
    };
    let (key, other) = ("ab".repeat(32), "cd".repeat(32));
    let mut file = open(&path);
    file.add(&new("ann", &[&key], &["plant", "lab-2"]), 4096).unwrap();
    let taken = file.add(&new("bob", &[&key.to_uppercase()], &[]), 4096);
    assert!(matches!(taken, Err(AccountError::KeyTaken { name, .. }) if name == "ann"));
    let twice = file.add(&new("bob", &[&other, &other], &[]), 4096);
    assert!(matches!(twice, Err(AccountError::KeyTaken { name, .. }) if name == "bob"));
    assert!(matches!(file.add(&new("bob", &["ab"], &[]), 4096), Err(AccountError::PublicKey { .. })));
    assert!(matches!(file.add(&new("bob", &[&other], &["a/b"]), 4096), Err(AccountError::Realm { .. })));
    assert!(matches!(file.add(&new("bob", &[], &[]), 4096), Err(AccountError::EmptyPassword)));
    let wampcra = NewAccount { wampcra: true, ..new("bob", &[&other], &[]) };
    assert!(matches!(file.add(&wampcra, 4096), Err(AccountError::NothingToDerive)));
    file.save().unwrap();
    let listed = open(&path).list();
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].public_keys[..], listed[0].password), (&[key.clone()][..], None));
    assert_eq!(listed[0].realms, ["plant", "lab-2"]);
    let book = Book::load(&path).unwrap();
    assert!(book.owner_of(PublicKey::parse(&key).unwrap()).is_some_and(|owner| *owner.name == *"ann"));
}
