//! No room left on the disk. (`tests/disk.rs` has what is kept and how it heals.)

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use weir_testkit::Node;

use crate::crowd::enter;
use crate::frames::{frame, publish, text};
use crate::scene::Scene;

/// A small file system of its own; unmounted when dropped.
struct Disk(TempDir);

impl Disk {
    fn mount() -> Disk {
        let place = tempfile::tempdir().expect("a directory");
        let arguments = ["-t", "tmpfs", "-o", "size=64m", "tmpfs"].map(Path::new);
        let mounted = Command::new("mount").args(arguments).arg(place.path()).status();
        let done = mounted.as_ref().is_ok_and(std::process::ExitStatus::success);
        assert!(done, "{mounted:?}: mounting a tmpfs needs root");
        Disk(place)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a node that failed may still be in it.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_disk_filled_by_one_client_is_told_to_it_by_0x97_and_others_are_served() {
    let disk = Disk::mount();
    let builder = Node::of(env!("CARGO_BIN_EXE_weir"))
        .listen("http")
        .data_dir(disk.0.path().join("data"))
        .set("store.queue_messages_max", 1_000_000)
        .set("store.queue_bytes_max", 1u64 << 40)
        .set("store.log_segment_bytes", 1 << 20)
        .set("store.log_bytes_max", 8 << 20);
    let scene = Scene::of(builder);
    let mut sleeper = enter(&scene.node, "sleeper", 0x02, &[0x11, 0, 0, 14, 16]);
    sleeper.send(&frame(0x82, &[&[0, 1, 0][..], &text("heap"), &[1]].concat()));
    sleeper.frame();
    drop(sleeper);
    let mut attacker = enter(&scene.node, "attacker", 0x02, &[]);
    let code = (1..10_000u16).find_map(|number| {
        attacker.send(&publish(2, "heap", &[&number.to_be_bytes()[..], &[0], &[0; 60_000]].concat()));
        attacker.frame().get(4).copied().filter(|code| *code >= 0x80)
    });
    assert_eq!(code, Some(0x97));
    scene.serves_others();
    drop(attacker);
    // What is not yet in its table lies in memory, too.
    scene.survives(64 << 20);
}
