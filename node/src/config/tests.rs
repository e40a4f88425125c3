//! What the configuration promises.

use std::ffi::OsString;
use std::io::Write as _;

use super::*;

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn flag(key: &str, value: &str) -> Setting {
    Setting { key: key.into(), value: toml::Value::String(value.into()), place: "--flag".into() }
}

#[test]
fn nothing_said_means_the_defaults() {
    let config = load(Sources::default()).unwrap();
    assert_eq!(config.listen, Listen::default());
    assert_eq!(config.node, Node::default());
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = file("[listen]\nmqtt = 1\nmqtts = 1\nhttp = \"127.0.0.1:1\"\n");
    let config = load(Sources {
        file: Some(file.path()),
        environment: environment(&[("WEIR__LISTEN__MQTT", "2"), ("weir__listen__mqtts", "2")]),
        flags: vec![flag("listen.mqtt", "3")],
    })
    .unwrap();
    assert_eq!(config.listen.mqtt, ListenAddr::loopback(3));
    assert_eq!(config.listen.mqtts, ListenAddr::loopback(2));
    assert_eq!(config.listen.http, ListenAddr::loopback(1));
    assert_eq!(config.listen.quic, Listen::default().quic);
}

#[test]
fn an_unknown_key_of_a_file_is_refused_with_its_line_and_the_nearest_key() {
    let file = file("# mine\n[listen]\nmqqt = \"off\"\n");
    let error = load(Sources { file: Some(file.path()), ..Sources::default() }).unwrap_err().to_string();
    assert!(error.contains(&format!("{}:3", file.path().display())), "{error}");
    assert!(error.contains("`listen.mqqt`") && error.contains("did you mean `listen.mqtt`?"), "{error}");
}

#[test]
fn an_unknown_section_is_refused_even_when_it_is_empty() {
    let file = file("[listne]\n");
    let error = load(Sources { file: Some(file.path()), ..Sources::default() }).unwrap_err();
    assert!(matches!(error, Error::UnknownKey { ref key, .. } if key == "listne"), "{error}");
}

#[test]
fn an_unknown_variable_is_refused_by_its_name_and_the_nearest_key() {
    let environment = environment(&[("WEIR__NODE__DATADIR", "/tmp")]);
    let error = load(Sources { environment, ..Sources::default() }).unwrap_err().to_string();
    assert!(error.starts_with("WEIR__NODE__DATADIR: "), "{error}");
    assert!(error.contains("did you mean `node.data_dir`?"), "{error}");
}

#[test]
fn variables_of_others_are_left_alone() {
    let environment = environment(&[("WEIR_TOOLS", "x"), ("PATH", "x"), ("WEIR", "x")]);
    assert!(load(Sources { environment, ..Sources::default() }).is_ok());
}

#[test]
fn a_bad_value_names_its_key_its_place_and_what_is_allowed() {
    let file = file("[node]\ngrace_seconds = \"soon\"\n");
    let error = load(Sources { file: Some(file.path()), ..Sources::default() }).unwrap_err().to_string();
    assert!(error.contains(&format!("{}:2", file.path().display())), "{error}");
    assert!(error.contains("`node.grace_seconds`") && error.contains("a whole number, 0 or more"), "{error}");
}

#[test]
fn a_variable_is_read_as_the_kind_its_key_takes() {
    let environment = environment(&[("WEIR__NODE__GRACE_SECONDS", "1_0"), ("WEIR__NODE__ID", "7")]);
    let config = load(Sources { environment, ..Sources::default() }).unwrap();
    assert_eq!(config.node.grace_seconds, 10);
    assert_eq!(config.node.id.as_deref(), Some("7"));
}

#[test]
fn a_variable_of_the_wrong_kind_is_refused() {
    let environment = environment(&[("WEIR__NODE__GRACE_SECONDS", "soon")]);
    let error = load(Sources { environment, ..Sources::default() }).unwrap_err();
    assert!(matches!(error, Error::BadValue { ref place, .. } if place == "WEIR__NODE__GRACE_SECONDS"));
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_its_line() {
    let file = file("[node]\nid = \n");
    let error = load(Sources { file: Some(file.path()), ..Sources::default() }).unwrap_err();
    assert!(matches!(error, Error::Syntax { ref place, .. } if place.ends_with(":2")), "{error}");
}

#[test]
fn what_is_printed_can_be_loaded_and_prints_the_same() {
    let mut config = load(Sources::default()).unwrap();
    config.node.id = Some("a".into());
    config.listen.http = ListenAddr::Off;
    let printed = print(&config);
    let file = file(&printed);
    let again = load(Sources { file: Some(file.path()), ..Sources::default() }).unwrap();
    assert_eq!(print(&again), printed);
    assert_eq!(again.listen, config.listen);
    assert_eq!(again.node, config.node);
}

#[test]
fn every_key_is_printed_with_a_sentence() {
    let printed = print(&Config::default());
    for section in ["node", "listen", "net", "store", "access", "broker", "gateway", "cluster"] {
        let line = format!("[{section}");
        assert!(printed.lines().any(|l| l.starts_with(&line)), "no section {section} in\n{printed}");
    }
    let catalog = Catalog::new();
    for (section, sentence) in catalog.sections() {
        assert!(!sentence.is_empty(), "{section} says nothing of itself");
        for key in catalog.keys_of(section) {
            assert!(!key.sentence.is_empty(), "{} says nothing of itself", key.path);
        }
    }
}

#[test]
fn a_door_open_to_other_machines_must_be_asked_for_by_name() {
    let flags = vec![flag("listen.mqtt", "0.0.0.0:1883")];
    let error = load(Sources { flags: flags.clone(), ..Sources::default() }).unwrap_err().to_string();
    assert!(error.contains("listen.mqtt") && error.contains("access.anonymous"), "{error}");

    let environment = environment(&[("WEIR__ACCESS__ANONYMOUS", "anywhere")]);
    assert!(load(Sources { environment, flags, ..Sources::default() }).is_ok());
}

#[test]
fn a_secret_is_shown_nowhere() {
    let secret = "do-not-show-this";
    let mut config = load(Sources::default()).unwrap();
    config.access.jwt.secret = Some(weir_access::config::Secret(secret.to_owned()));
    let printed = print(&config);
    assert!(printed.contains("# secret = \"***\"") && !printed.contains(secret), "{printed}");
    assert!(!format!("{config:?}").contains(secret));
    assert!(!serde_json::to_string(&config).unwrap().contains(secret));
    let file = file("[access.jwt]\nsecret = 271828\n");
    let error = load(Sources { file: Some(file.path()), ..Sources::default() }).unwrap_err().to_string();
    assert!(error.contains("`access.jwt.secret` cannot be ***") && !error.contains("271828"), "{error}");
}

fn joining(store: &str, peer: Option<&str>) -> Result<Config, Error> {
    let join = toml::Value::Array(vec!["a.example:7946".into()]);
    let mut flags = vec![flag("store.url", store)];
    flags.push(Setting { key: "cluster.join".into(), value: join, place: "--join".into() });
    flags.extend(peer.map(|address| flag("listen.peer", address)));
    load(Sources { flags, ..Sources::default() })
}

#[test]
fn a_node_with_an_embedded_store_may_not_join_and_is_told_what_may() {
    let error = joining("embedded", None).unwrap_err().to_string();
    assert!(error.starts_with("--join: ") && error.contains("`store.url` to a Redis"), "{error}");
}

#[test]
fn peers_are_listened_for_when_some_are_to_be_joined_and_not_otherwise() {
    assert_eq!(load(Sources::default()).unwrap().peer_address(), None);
    let config = joining("redis://127.0.0.1", None).unwrap();
    assert_eq!(config.peer_address(), ListenAddr::loopback(7946).socket());
    assert!(matches!(joining("memory", Some("off")), Err(Error::JoinsUnheard { .. })));
    let alone = load(Sources { flags: vec![flag("listen.peer", "7947")], ..Sources::default() });
    assert_eq!(alone.unwrap().peer_address(), ListenAddr::loopback(7947).socket());
}
