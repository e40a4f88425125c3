//! What `docs/sync.md` tells its readers to type.

use std::path::Path;
use std::process::Command;

use weir_testkit::{Node, eventually};

use crate::client::Client;

const PROGRAM: &str = env!("CARGO_BIN_EXE_weir");

/// The commands of the document: those of its first block of shell, and those in the text.
fn commands() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sync.md");
    let document = std::fs::read_to_string(path).expect("the document");
    let block = document.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block");
    let lines = block.replace("\\\n", " ");
    let typed = lines.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let mut commands: Vec<String> = typed.map(str::to_owned).collect();
    let told = document.split('`').filter(|text| text.starts_with("weir pub "));
    commands.extend(told.map(str::to_owned));
    commands
}

/// Runs one against a node; whether it succeeded.
fn runs(command: &str, node: &Node) -> bool {
    let address = node.address("mqtt");
    let place = match command.split(' ').next() {
        Some("weir") => format!("--url mqtt://{address}"),
        _ => format!("-h {} -p {}", address.ip(), address.port()),
    };
    let path = std::env::var("PATH").unwrap_or_default();
    let beside = Path::new(PROGRAM).parent().expect("a directory").display();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{command} {place}")).env("PATH", format!("{beside}:{path}:/usr/sbin"));
    shell.output().expect("a shell").status.success()
}

#[test]
fn the_examples_of_the_document_do_what_it_says() {
    let node = Node::of(PROGRAM).listen("mqtt").listen("http").start();
    let mut watcher = Client::clean(node.address("mqtt"), "watcher");
    watcher.subscribe("#");
    let [take, give_back, presence, compare] = &commands()[..] else { panic!("{:?}", commands()) };
    let event = |watcher: &mut Client| {
        let event = watcher.event();
        (event.topic, event.payload)
    };
    let told = |topic: &str, payload: &str| (topic.to_owned(), payload.to_owned());

    // The program ends with its answer, and what it held goes with it.
    assert!(runs(take, &node), "{take}");
    assert_eq!(event(&mut watcher), told("lock/door", "\"me\""));
    assert_eq!(event(&mut watcher), told("lock/door", ""));
    assert!(runs(give_back, &node), "{give_back}");
    assert_eq!(event(&mut watcher), told("lock/door", ""));

    assert!(runs(presence, &node), "{presence}");
    assert_eq!(event(&mut watcher), told("presence/me", "\"here\""));
    assert_eq!(event(&mut watcher), told("presence/me", "\"gone\""));

    assert!(!runs(compare, &node), "there is nothing to compare with");
    let mut writer = Client::clean(node.address("mqtt"), "writer");
    assert!(writer.publish("state", "{\"v\":1}", &[]).is_accepted());
    assert!(runs(compare, &node), "{compare}");
    assert!(!runs(compare, &node), "it is another one by now");
    assert_eq!(event(&mut watcher), told("state", "{\"v\":1}"));
    assert_eq!(event(&mut watcher), told("state", "{\"v\":2}"));
    eventually("nothing is left", || (node.metrics().sum("weir_broker_guards") == 0.0).then_some(()));
}
