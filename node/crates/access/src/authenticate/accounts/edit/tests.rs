//! What `weir account` writes, and what it leaves alone.

use super::*;

const OLD: &str = "# who may in\nseed = \"c2VlZCBvZiB0aGUgdGVzdHMsIGxvbmc=\"\n\n# the first\n[[account]]\nname = \"ann\" # she\npassword = \"$2b$04$abcdefghijklmnopqrstuuvuTSpE1QHPFkRTB9vA5OJlAjOxJYyQO\"\n";

fn open(path: &Path) -> AccountFile {
    let mut file = AccountFile::open(path).unwrap();
    file.cost = Params::new(8, 1, 1, None).unwrap();
    file
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
    file.add("ann", "apple", &["device".to_owned()], 4096).unwrap();
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
    file.add("ann", "apple", &[], 4096).unwrap();
    file.add("bob", "banana", &[], 4096).unwrap();
    file.save().unwrap();
    assert!(proves("ann", "apple") && proves("bob", "banana") && !proves("ann", "banana"));
    let mut file = open(&path);
    file.set_password("ann", "pear", 4096).unwrap();
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
    file.add("bob", "banana", &[], 4096).unwrap();
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
    assert!(matches!(file.add("ann", "x", &[], 4096), Err(AccountError::Exists { .. })));
    assert!(matches!(file.add("", "x", &[], 4096), Err(AccountError::Name { .. })));
    assert!(matches!(file.add("a\nb", "x", &[], 4096), Err(AccountError::Name { .. })));
    assert!(matches!(file.add("cy", "", &[], 4096), Err(AccountError::EmptyPassword)));
    assert!(matches!(file.set_password("cy", "x", 4096), Err(AccountError::Unknown { .. })));
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
                file.add(&format!("user{at}"), "x", &[], 4096).unwrap();
                file.save().unwrap();
            });
        }
    });
    let mut all = names(&path);
    all.sort();
    assert_eq!(all, ["user0", "user1", "user2", "user3"]);
}
