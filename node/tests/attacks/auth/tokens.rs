//! Forged tokens, and good ones that are not for here or not for now.

use std::net::TcpListener;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use weir_testkit::eventually;

use super::token::{PUBLIC_KEY, SECRET, code, enter, good, guarded, is_refused, of, pair, signed};
use crate::frames::{V5, disconnected};
use crate::scene::Scene;

fn victim() -> Value {
    json!({ "user_id": "victim", "roles": ["admin"] })
}

#[test]
fn tokens_without_a_signature_are_refused() {
    let scene = Scene::of_users(guarded().set("gateway.auth_failures_max", 0), pair());
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let header = json!({ "alg": alg });
        let unsigned = format!("{}.{}", part(&header), part(&victim()));
        is_refused(&scene.node, "no signature", &format!("{unsigned}."));
        is_refused(&scene.node, "no third part", &unsigned);
        is_refused(&scene.node, "an empty key", &signed(&header, &victim(), b""));
        is_refused(&scene.node, "signed in spite of it", &signed(&header, &victim(), SECRET.as_bytes()));
    }
    let good = of("victim");
    let (text, _) = good.rsplit_once('.').expect("three parts");
    is_refused(&scene.node, "signature taken away", &format!("{text}."));
    is_refused(
        &scene.node,
        "another's signature",
        &format!("{text}.{}", of("x").rsplit_once('.').unwrap().1),
    );
    scene.survives(0);
}

#[test]
fn a_public_key_is_no_secret_and_a_secret_no_public_key() {
    let scene = Scene::of_users(
        guarded().set("access.jwt.public_key", PUBLIC_KEY).set("gateway.auth_failures_max", 0),
        pair(),
    );
    let der: String = PUBLIC_KEY.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(der).expect("PEM");
    // The text of the key, as it may be read from its file, and its bytes.
    let keys: [&[u8]; 5] = [
        PUBLIC_KEY.as_bytes(),
        PUBLIC_KEY.trim_end().as_bytes(),
        &der,
        // Without the head that says which kind of key it is.
        &der[24..],
        PUBLIC_KEY.trim_matches('-').as_bytes(),
    ];
    for key in keys {
        for alg in ["HS256", "RS256", "PS256"] {
            is_refused(&scene.node, alg, &signed(&json!({ "alg": alg }), &victim(), key));
        }
    }
    for alg in ["RS256", "PS256", "ES256", "EdDSA", "HS384", "HS512"] {
        let token = signed(&json!({ "alg": alg }), &victim(), SECRET.as_bytes());
        is_refused(&scene.node, alg, &token);
    }
    assert_eq!(code(&scene.node, V5, &of("somebody")), 0);
    scene.survives(0);
}

#[test]
fn a_kid_is_neither_a_path_nor_an_address() {
    let scene = Scene::of_users(guarded().set("gateway.auth_failures_max", 0), pair());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    listener.set_nonblocking(true).expect("a socket");
    let url = format!("http://{}/jwks.json", listener.local_addr().expect("an address"));
    let host = std::fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
    let kids: [(&str, &[u8]); 6] = [
        ("/dev/null", b""),
        ("../../../../../../dev/null", b""),
        ("/proc/sys/kernel/hostname", &host),
        ("x' UNION SELECT 'key", b"key"),
        ("key|cat /proc/sys/kernel/hostname", b"key"),
        (&url, b"key"),
    ];
    for (kid, key) in kids {
        is_refused(&scene.node, kid, &signed(&json!({ "alg": "HS256", "kid": kid }), &victim(), key));
    }
    let jwk = json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode("key"), "alg": "HS256" });
    for header in ["jku", "x5u"] {
        is_refused(&scene.node, header, &signed(&json!({ "alg": "HS256", header: url }), &victim(), b"key"));
    }
    is_refused(&scene.node, "jwk", &signed(&json!({ "alg": "HS256", "jwk": jwk }), &victim(), b"key"));
    assert!(listener.accept().is_err(), "the node has asked the attacker for a key");
    scene.survives(0);
}

#[test]
fn a_token_for_somebody_else_is_none_for_this_node() {
    let pair_here = || {
        let mut credentials = pair();
        credentials.password = good(&json!({ "user_id": "pair", "aud": ["other", "weir"] })).into_bytes();
        credentials
    };
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("weir.toml");
    std::fs::write(&config, "[access.jwt]\naudience = [\"weir\"]\n").expect("a file");
    let builder = guarded().arg("--config").arg(&config).set("gateway.auth_failures_max", 0);
    let scene = Scene::of_users(builder, pair_here());
    let cases = [
        ("no aud", json!({ "user_id": "victim" })),
        ("another aud", json!({ "user_id": "victim", "aud": "other" })),
        ("none of several", json!({ "user_id": "victim", "aud": ["other", "weird"] })),
        ("no text", json!({ "user_id": "victim", "aud": 1 })),
        ("nothing", json!({ "user_id": "victim", "aud": null })),
        ("a list of nothing", json!({ "user_id": "victim", "aud": [] })),
    ];
    for (what, claims) in cases {
        is_refused(&scene.node, what, &good(&claims));
    }
    scene.survives(0);
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs()
}

#[test]
fn a_token_that_expires_ends_its_connection_and_lets_nobody_in_again() {
    let scene = Scene::of_users(guarded().set("access.jwt.leeway_seconds", 0), pair());
    let token = good(&json!({ "user_id": "guest", "exp": now() + 3 }));
    let mut guest = enter(&scene.node, "guest", 0x02, &[], &token);
    scene.serves_others();
    assert_eq!(disconnected(&mut guest), 0x87);
    eventually("the token to be over for everybody", || {
        (code(&scene.node, V5, &token) == 0x86).then_some(())
    });
    scene.survives(0);
}

#[test]
fn times_that_cannot_be_are_refused() {
    let scene = Scene::of_users(guarded().set("gateway.auth_failures_max", 0), pair());
    let cases = [
        ("expired", json!({ "user_id": "v", "exp": now() - 60 })),
        ("not yet", json!({ "user_id": "v", "nbf": now() + 600 })),
        ("no number", json!({ "user_id": "v", "exp": "tomorrow" })),
        ("before all time", json!({ "user_id": "v", "exp": -1 })),
    ];
    for (what, claims) in cases {
        is_refused(&scene.node, what, &good(&claims));
    }
    // For as long as a number can say: no overflow lets it end at once, or takes the node along.
    for exp in [u64::MAX, u64::MAX / 1000, 1 << 53] {
        let said = code(&scene.node, V5, &good(&json!({ "user_id": "v", "exp": exp })));
        assert!(said == 0 || said == 0x86, "{exp}: {said:#x}");
    }
    scene.survives(0);
}
