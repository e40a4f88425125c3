//! What is believed of a directory of compiled code.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::*;

fn cache(directory: &tempfile::TempDir, bytes_max: u64) -> Cache {
    Cache::open(directory.path(), bytes_max).unwrap()
}

fn is_there(cache: &Cache, name: &str) -> bool {
    matches!(cache.read(name), Found::Code(_))
}

#[test]
fn code_comes_back_as_it_was_written_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    cache(&directory, 0).write("a", "command 1.0.0", b"code\nmore").unwrap();
    let Found::Code(code) = cache(&directory, 0).read("a") else { panic!("it is there") };
    assert_eq!((code.header(), code.compiled()), ("command 1.0.0", b"code\nmore".as_slice()));
}

#[test]
fn a_file_with_one_other_bit_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let cache = cache(&directory, 0);
    for at in [0, 31, 32, 40, 49] {
        cache.write("a", "command 1.0.0", b"code").unwrap();
        let path = cache.path("a");
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(matches!(cache.read("a"), Found::Damaged), "bit at {at}");
        assert!(matches!(cache.read("a"), Found::Nothing), "it is gone");
    }
}

#[test]
fn a_torn_file_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let cache = cache(&directory, 0);
    for length in [0, 10, 32, 45] {
        cache.write("a", "command 1.0.0", b"code").unwrap();
        OpenOptions::new().write(true).open(cache.path("a")).unwrap().set_len(length).unwrap();
        assert!(matches!(cache.read("a"), Found::Damaged), "cut at {length}");
    }
}

#[test]
fn code_of_another_name_or_another_directory_is_not_believed() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (ours, theirs) = (cache(&here, 0), cache(&there, 0));
    theirs.write("a", "command 1.0.0", b"code").unwrap();
    fs::copy(theirs.path("a"), theirs.path("b")).unwrap();
    fs::copy(theirs.path("a"), ours.path("a")).unwrap();
    assert!(matches!(theirs.read("b"), Found::Damaged), "another name");
    assert!(matches!(ours.read("a"), Found::Damaged), "another key");
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    let directory = tempfile::tempdir().unwrap();
    let cache = cache(&directory, 300);
    for (age, name) in [(30, "old"), (20, "older-but-used"), (10, "new")] {
        cache.write(name, "h", &[0; 50]).unwrap();
        let file = File::open(cache.path(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    }
    File::open(cache.path("new")).unwrap().set_modified(SystemTime::now() - Duration::from_secs(40)).unwrap();
    assert!(is_there(&cache, "new"), "a read is a use");
    cache.write("next", "h", &[0; 50]).unwrap();
    assert!(!is_there(&cache, "old"));
    assert!(is_there(&cache, "new") && is_there(&cache, "next") && is_there(&cache, "older-but-used"));
}

#[test]
fn the_key_is_readable_by_its_owner_only_and_replaced_when_it_was_not() {
    let directory = tempfile::tempdir().unwrap();
    cache(&directory, 0).write("a", "h", b"code").unwrap();
    let key = directory.path().join("key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(cache(&directory, 0).read("a"), Found::Damaged));
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
}
