//! Tokens made by hand, so that they can be wrong.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use weir_testkit::node::Builder;
use weir_testkit::{Node, RawMqtt};

use crate::frames::{V5, V311, connect_with, text};
use crate::pair::Credentials;
use crate::scene::node;

/// What the node of these tests signs with.
pub const SECRET: &str = "a secret of the tests, long enough for HS256";

/// The node's other key: it verifies RS256, and its private half is lost.
pub const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAuC8PMhW0R1Qb/phlpO1G
llWLTNh6sbY5R49DqhV7q+B5qJgPGDbfFlws3EyydKtKS8ln3Ki9TBS3nzElwWKU
paVmmILPcif+O+EzrRptGGSsfzhCfECrKO2k1tfCHxZhYpH6Zpu+BnKiUAvAweXx
IS1uiBm2XhY6esd2AF5BG3G4eshN5ItIkxQdtRi9WkyT2jW18j/go+ec57/yd67E
6nZb/PNeN+B0Y7WAs7fRrT7Q9r34Zj79a5jt+evYKgiIxmsQiLwrwP019FpW2KU8
ygvq48RRAxB84h+LxRtws9BMqclQAQbNvABy2wntsTlvhmf1U5pm/fJ9jYSskjVY
XQIDAQAB
-----END PUBLIC KEY-----
";

/// A node that asks for tokens.
pub fn guarded() -> Builder {
    node().set("access.jwt.secret", SECRET)
}

/// A token with this header and these claims, its signature made by HMAC-SHA-256 with this key.
pub fn signed(header: &Value, claims: &Value, key: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, text.as_bytes())))
}

/// A good token of these claims.
pub fn good(claims: &Value) -> String {
    signed(&json!({ "alg": "HS256", "typ": "JWT" }), claims, SECRET.as_bytes())
}

/// A good token of a user.
pub fn of(user_id: &str) -> String {
    good(&json!({ "user_id": user_id }))
}

/// What the well-behaved pair shows.
pub fn pair() -> Credentials {
    Credentials { username: "JWT".to_owned(), password: of("pair").into_bytes() }
}

/// A CONNECT with a user name and a password; bit 1 of `flags` is the clean start.
pub fn connect(level: u8, flags: u8, properties: &[u8], client_id: &str, user: (&str, &str)) -> Vec<u8> {
    let payload = [text(client_id), text(user.0), text(user.1)].concat();
    connect_with("MQTT", level, flags | 0xC0, properties, &payload)
}

/// The code of the CONNACK to a token.
pub fn code(node: &Node, level: u8, token: &str) -> u8 {
    let mut raw = RawMqtt::connect(node.address("mqtt"));
    raw.send(&connect(level, 0x02, &[], "", ("JWT", token)));
    raw.frame()[3]
}

/// Neither version lets this token in, and both say so by their code for bad credentials.
pub fn is_refused(node: &Node, what: &str, token: &str) {
    assert_eq!((code(node, V5, token), code(node, V311, token)), (0x86, 4), "{what}");
}

/// Connected with a good token of a user.
pub fn enter(node: &Node, client_id: &str, flags: u8, properties: &[u8], token: &str) -> RawMqtt {
    let mut raw = RawMqtt::connect(node.address("mqtt"));
    raw.send(&connect(V5, flags, properties, client_id, ("JWT", token)));
    let connack = raw.frame();
    assert_eq!((connack[0], connack[3]), (0x20, 0), "{connack:02x?}");
    raw
}
