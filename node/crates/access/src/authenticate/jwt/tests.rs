//! Tokens that are good, and every kind that is not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData as _};
use serde_json::json;
use x509_parser::pem::Pem;

use super::*;
use crate::config::Secret;
use crate::load::LoadError;

/// Keys made for these tests and used nowhere else.
const RSA_PRIVATE: &str = include_str!("../../../tests/keys/rsa.pem");
const RSA_PUBLIC: &str = include_str!("../../../tests/keys/rsa-public.pem");
const RSA_WEAK_PUBLIC: &str = include_str!("../../../tests/keys/weak-rsa-public.pem");

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const NOW_SECONDS: u64 = NOW.0 / 1000;

fn with_secret() -> config::Jwt {
    config::Jwt { secret: Some(Secret(SECRET.to_owned())), ..config::Jwt::default() }
}

fn with_public(pem: &str) -> config::Jwt {
    config::Jwt { public_key: Some(pem.to_owned()), ..config::Jwt::default() }
}

fn with_set(set: &Value) -> (config::Jwt, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("jwks.json"), set.to_string()).unwrap();
    let path = dir.path().join("jwks.json");
    (config::Jwt { jwks_file: Some(path), ..config::Jwt::default() }, dir)
}

fn jwt(config: config::Jwt) -> Jwt {
    let keys = sources::keys(&config, std::path::Path::new("")).unwrap();
    Jwt { config: Arc::new(config), keys: Arc::new(Keys::new(keys, false)), unknown_key: Arc::default() }
}

fn refused(config: &config::Jwt) -> String {
    match sources::keys(config, std::path::Path::new("")) {
        Ok(_) => panic!("these keys were taken"),
        Err(error @ LoadError::Malformed { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
    }
}

fn rsa_private() -> EncodingKey {
    EncodingKey::from_rsa_der(
        &Pem::iter_from_buffer(RSA_PRIVATE.as_bytes()).next().unwrap().unwrap().contents,
    )
}

fn hmac() -> EncodingKey {
    EncodingKey::from_secret(SECRET.as_bytes())
}

fn signed(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> Vec<u8> {
    jsonwebtoken::encode(&Header::new(algorithm), claims, key).unwrap().into_bytes()
}

fn with_kid(algorithm: Algorithm, key: &EncodingKey, kid: &str) -> Vec<u8> {
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, &json!({"user_id": "ann"}), key).unwrap().into_bytes()
}

/// A token with a header of one's own, signed by HS256 over whatever it says.
fn forged(header: &Value, claims: &Value, secret: &[u8]) -> Vec<u8> {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let key = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}").into_bytes()
}

fn credentials(username: &str, password: &[u8]) -> Credentials {
    Credentials {
        client_id: "c1".into(),
        username: Some(username.to_owned()),
        password: Some(password.to_vec()),
        ..Credentials::default()
    }
}

fn judged(jwt: &Jwt, token: &[u8]) -> Result<Identity, Refusal> {
    jwt.judge(token, &credentials("JWT", token), NOW)
}

fn user(identity: &Identity) -> &str {
    identity.principal.user_id.as_deref().unwrap()
}

#[test]
fn every_algorithm_lets_in_who_its_key_signed_for() {
    use Algorithm::{HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};
    let ann = json!({"user_id": "ann"});
    for algorithm in [HS256, HS384, HS512] {
        let found = judged(&jwt(with_secret()), &signed(algorithm, &hmac(), &ann)).unwrap();
        assert_eq!(user(&found), "ann");
    }
    for algorithm in [RS256, RS384, RS512, PS256, PS384, PS512] {
        let found = judged(&jwt(with_public(RSA_PUBLIC)), &signed(algorithm, &rsa_private(), &ann)).unwrap();
        assert_eq!(user(&found), "ann", "{algorithm:?}");
    }
    for (algorithm, pair) in curves() {
        let key = private(algorithm, &pair);
        let found =
            judged(&jwt(with_public(&pair.public_key_pem())), &signed(algorithm, &key, &ann)).unwrap();
        assert_eq!(user(&found), "ann", "{algorithm:?}");
    }
}

fn curves() -> [(Algorithm, KeyPair); 3] {
    let pair = |algorithm| KeyPair::generate_for(algorithm).unwrap();
    [
        (Algorithm::ES256, pair(&PKCS_ECDSA_P256_SHA256)),
        (Algorithm::ES384, pair(&PKCS_ECDSA_P384_SHA384)),
        (Algorithm::EdDSA, pair(&PKCS_ED25519)),
    ]
}

fn private(algorithm: Algorithm, pair: &KeyPair) -> EncodingKey {
    match algorithm {
        Algorithm::EdDSA => EncodingKey::from_ed_der(&pair.serialize_der()),
        _ => EncodingKey::from_ec_der(&pair.serialize_der()),
    }
}

#[test]
fn another_key_of_the_same_kind_is_a_wrong_signature() {
    let ann = json!({"user_id": "ann"});
    let other = EncodingKey::from_secret(b"another secret, also long enough");
    let found = judged(&jwt(with_secret()), &signed(Algorithm::HS256, &other, &ann));
    assert_eq!(found.unwrap_err(), Refusal::Signature);
    for ((algorithm, pair), (_, other)) in curves().into_iter().zip(curves()) {
        let token = signed(algorithm, &private(algorithm, &other), &ann);
        assert_eq!(
            judged(&jwt(with_public(&pair.public_key_pem())), &token).unwrap_err(),
            Refusal::Signature
        );
    }
}

#[test]
fn a_changed_claim_is_a_wrong_signature() {
    let token = String::from_utf8(signed(Algorithm::HS256, &hmac(), &json!({"user_id": "ann"}))).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let claims = URL_SAFE_NO_PAD.encode(json!({"user_id": "bob"}).to_string());
    let changed = format!("{}.{claims}.{}", parts[0], parts[2]);
    assert_eq!(judged(&jwt(with_secret()), changed.as_bytes()).unwrap_err(), Refusal::Signature);
}

#[test]
fn a_token_without_a_signature_is_refused_however_it_says_so() {
    let ann = json!({"user_id": "ann"});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for none in ["none", "None", "NONE", "nOnE", ""] {
        let unsigned = format!("{}.{}.", part(&json!({"alg": none})), part(&ann));
        assert_eq!(judged(&jwt(with_secret()), unsigned.as_bytes()).unwrap_err(), Refusal::Malformed);
        let signed = forged(&json!({"alg": none}), &ann, SECRET.as_bytes());
        assert_eq!(judged(&jwt(with_secret()), &signed).unwrap_err(), Refusal::Malformed);
    }
    let stripped = signed(Algorithm::HS256, &hmac(), &ann);
    let stripped = &stripped[..=stripped.iter().rposition(|byte| *byte == b'.').unwrap()];
    assert_eq!(judged(&jwt(with_secret()), stripped).unwrap_err(), Refusal::Signature);
}

#[test]
fn a_public_key_is_never_the_secret_of_an_hmac() {
    let header = json!({"alg": "HS256", "typ": "JWT"});
    let ann = json!({"user_id": "ann"});
    let with_rsa = jwt(with_public(RSA_PUBLIC));
    let der = Pem::iter_from_buffer(RSA_PUBLIC.as_bytes()).next().unwrap().unwrap().contents;
    for secret in [RSA_PUBLIC.as_bytes(), RSA_PUBLIC.trim_end().as_bytes(), &der] {
        assert_eq!(judged(&with_rsa, &forged(&header, &ann, secret)).unwrap_err(), Refusal::NoKey);
    }
    for (_, pair) in curves() {
        let token = forged(&header, &ann, pair.der_bytes());
        assert_eq!(judged(&jwt(with_public(&pair.public_key_pem())), &token).unwrap_err(), Refusal::NoKey);
    }
}

#[test]
fn a_secret_never_verifies_what_a_public_key_should() {
    let ann = json!({"user_id": "ann"});
    for header in ["RS256", "PS256", "ES256", "EdDSA"] {
        let token = forged(&json!({"alg": header}), &ann, SECRET.as_bytes());
        assert_eq!(judged(&jwt(with_secret()), &token).unwrap_err(), Refusal::NoKey, "{header}");
    }
    // Both kinds known: each token finds its own kind, and is not signed by it.
    let both = config::Jwt { public_key: Some(RSA_PUBLIC.to_owned()), ..with_secret() };
    let token = forged(&json!({"alg": "RS256"}), &ann, SECRET.as_bytes());
    assert_eq!(judged(&jwt(both), &token).unwrap_err(), Refusal::Signature);
}

#[test]
fn a_kid_chooses_among_keys_and_opens_nothing() {
    let with_rsa = jwt(with_secret());
    for kid in ["/etc/passwd", "../../dev/null", "https://evil.example/jwks.json", "' OR 1=1 --", "", "\0"] {
        let right = with_kid(Algorithm::HS256, &hmac(), kid);
        assert_eq!(user(&judged(&with_rsa, &right).unwrap()), "ann", "the one key has no name: it is tried");
        for secret in [b"".as_slice(), kid.as_bytes(), b"\n"] {
            let token = forged(&json!({"alg": "HS256", "kid": kid}), &json!({"user_id": "ann"}), secret);
            assert_eq!(judged(&with_rsa, &token).unwrap_err(), Refusal::Signature);
        }
    }
}

fn two_secrets() -> Value {
    let one = URL_SAFE_NO_PAD.encode(SECRET);
    let two = URL_SAFE_NO_PAD.encode("another secret, also long enough");
    json!({"keys": [
        {"kty": "oct", "kid": "one", "k": one, "alg": "HS256"},
        {"kty": "oct", "kid": "two", "k": two},
    ]})
}

#[test]
fn a_kid_is_compared_exactly_and_binds() {
    let (config, _dir) = with_set(&two_secrets());
    let jwt = jwt(config);
    assert!(judged(&jwt, &with_kid(Algorithm::HS256, &hmac(), "one")).is_ok());
    assert_eq!(judged(&jwt, &with_kid(Algorithm::HS256, &hmac(), "two")).unwrap_err(), Refusal::Signature);
    for other in ["ONE", "one ", "on", "onee"] {
        assert_eq!(judged(&jwt, &with_kid(Algorithm::HS256, &hmac(), other)).unwrap_err(), Refusal::NoKey);
    }
    // Without a `kid` all are tried.
    assert!(judged(&jwt, &signed(Algorithm::HS256, &hmac(), &json!({"user_id": "ann"}))).is_ok());
}

#[test]
fn the_alg_of_a_key_in_a_set_narrows_it() {
    let (config, _dir) = with_set(&two_secrets());
    let token = with_kid(Algorithm::HS512, &hmac(), "one");
    assert_eq!(judged(&jwt(config), &token).unwrap_err(), Refusal::NoKey);
}

#[test]
fn keys_in_the_header_of_a_token_mean_nothing() {
    let attacker = b"the attacker's own secret, long.";
    let jwk = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(attacker)});
    let headers = [
        json!({"alg": "HS256", "jwk": jwk}),
        json!({"alg": "HS256", "jku": "https://evil.example/jwks.json"}),
        json!({"alg": "HS256", "x5u": "https://evil.example/cert.pem"}),
        json!({"alg": "HS256", "x5c": ["AAAA"]}),
    ];
    for header in headers {
        let token = forged(&header, &json!({"user_id": "ann"}), attacker);
        assert_eq!(judged(&jwt(with_secret()), &token).unwrap_err(), Refusal::Signature, "{header}");
    }
    let critical =
        forged(&json!({"alg": "HS256", "crit": ["b64"], "b64": false}), &json!({}), SECRET.as_bytes());
    assert_eq!(judged(&jwt(with_secret()), &critical).unwrap_err(), Refusal::Critical);
}

#[test]
fn only_allowed_algorithms_are_taken() {
    let config = config::Jwt { algorithms: vec![config::Algorithm::HS512], ..with_secret() };
    let jwt = jwt(config);
    let ann = json!({"user_id": "ann"});
    assert_eq!(judged(&jwt, &signed(Algorithm::HS256, &hmac(), &ann)).unwrap_err(), Refusal::Algorithm);
    assert!(judged(&jwt, &signed(Algorithm::HS512, &hmac(), &ann)).is_ok());
}

#[test]
fn a_token_counts_from_nbf_to_exp_with_the_leeway_of_clocks() {
    let jwt = jwt(with_secret());
    let at = |claim: &str, seconds: f64| {
        judged(&jwt, &signed(Algorithm::HS256, &hmac(), &json!({"user_id": "ann", claim: seconds})))
    };
    let now = NOW_SECONDS as f64;
    assert!(at("exp", now - 29.0).is_ok());
    assert_eq!(at("exp", now - 30.0).unwrap_err(), Refusal::Expired);
    assert_eq!(at("exp", 0.0).unwrap_err(), Refusal::Expired);
    assert!(at("nbf", now + 30.0).is_ok());
    assert_eq!(at("nbf", now + 30.5).unwrap_err(), Refusal::NotYet);
    assert!(at("exp", 1e300).is_ok());
    let found = at("exp", now + 60.0).unwrap();
    assert_eq!(found.expires_at, Some(UnixMillis(NOW.0 + 90_000)));
}

#[test]
fn a_time_that_is_none_is_refused_and_not_overlooked() {
    let jwt = jwt(with_secret());
    for claim in ["exp", "nbf"] {
        for value in [json!("1900000000"), json!(null), json!(-1), json!([]), json!(true)] {
            let token = signed(Algorithm::HS256, &hmac(), &json!({"user_id": "ann", claim: value}));
            assert_eq!(judged(&jwt, &token).unwrap_err(), Refusal::Time, "{claim} {value}");
        }
    }
}

#[test]
fn a_token_without_exp_counts_unless_exp_is_required() {
    let token = signed(Algorithm::HS256, &hmac(), &json!({"user_id": "ann"}));
    assert_eq!(judged(&jwt(with_secret()), &token).unwrap().expires_at, None);
    let strict = config::Jwt { expiry_required: true, ..with_secret() };
    assert_eq!(judged(&jwt(strict), &token).unwrap_err(), Refusal::NoExpiry);
}

#[test]
fn audience_and_issuer_are_demanded_when_they_are_set() {
    let config = config::Jwt {
        audience: vec!["weir".to_owned()],
        issuer: vec!["https://idp.example".to_owned()],
        ..with_secret()
    };
    let jwt = jwt(config);
    let with = |aud: Value, iss: Value| {
        judged(&jwt, &signed(Algorithm::HS256, &hmac(), &json!({"user_id": "ann", "aud": aud, "iss": iss})))
    };
    let issuer = json!("https://idp.example");
    assert!(with(json!("weir"), issuer.clone()).is_ok());
    assert!(with(json!(["other", "weir"]), issuer.clone()).is_ok());
    for bad in [json!("other"), json!([]), json!(null), json!(["weir2"]), json!({"weir": 1}), json!("WEIR")] {
        assert_eq!(with(bad, issuer.clone()).unwrap_err(), Refusal::Audience);
    }
    for bad in [json!("https://idp.example/"), json!(null), json!(["https://idp.example"])] {
        assert_eq!(with(json!("weir"), bad).unwrap_err(), Refusal::Issuer);
    }
    let bare = signed(Algorithm::HS256, &hmac(), &json!({"user_id": "ann"}));
    assert_eq!(judged(&jwt, &bare).unwrap_err(), Refusal::Audience);
}

#[test]
fn an_oversized_or_broken_token_is_refused_before_its_signature_is_looked_at() {
    let jwt = jwt(with_secret());
    let long = signed(Algorithm::HS256, &hmac(), &json!({"user_id": "ann", "pad": "x".repeat(8 << 10)}));
    assert_eq!(judged(&jwt, &long).unwrap_err(), Refusal::TooLong);
    for broken in [b"".as_slice(), b".", b"..", b"a.b.c", b"\xff\xfe.\xff.\xff", b"e30.e30.e30", b"a.b.c.d"] {
        assert_eq!(judged(&jwt, broken).unwrap_err(), Refusal::Malformed);
    }
    let mut claims = Map::new();
    for at in 0..65 {
        claims.insert(format!("claim{at}"), json!(1));
    }
    let many = signed(Algorithm::HS256, &hmac(), &Value::Object(claims));
    assert_eq!(judged(&jwt, &many).unwrap_err(), Refusal::Claims);
}

#[test]
fn the_user_is_a_text_or_a_whole_number_and_never_nobody() {
    let jwt = jwt(with_secret());
    let of = |claims: Value| judged(&jwt, &signed(Algorithm::HS256, &hmac(), &claims));
    assert_eq!(user(&of(json!({"user_id": 68946})).unwrap()), "68946");
    assert_eq!(user(&of(json!({"user_id": -1})).unwrap()), "-1");
    for bad in [json!(""), json!(1.5), json!(null), json!([]), json!({}), json!(true), json!("a\0b")] {
        assert_eq!(of(json!({"user_id": bad, "sub": "ann"})).unwrap_err(), Refusal::User);
    }
    assert_eq!(of(json!({"sub": "ann"})).unwrap_err(), Refusal::User);
    let by_sub = config::Jwt { user_claim: "sub".to_owned(), ..with_secret() };
    let token = signed(Algorithm::HS256, &hmac(), &json!({"sub": "ann", "user_id": "bob"}));
    assert_eq!(user(&judged(&self::jwt(by_sub), &token).unwrap()), "ann");
}

#[test]
fn a_handler_claim_gives_the_role_and_a_name_of_its_own() {
    let jwt = jwt(with_secret());
    let of = |claims: Value| judged(&jwt, &signed(Algorithm::HS256, &hmac(), &claims));
    let handler = of(json!({"handler": {"name": "ping-pong"}})).unwrap();
    assert_eq!(user(&handler), "handler:ping-pong");
    assert_eq!(handler.principal.roles, [Arc::from("handler")]);
    let both = of(json!({"handler": {}, "user_id": 7, "roles": ["a", "handler"]})).unwrap();
    assert_eq!(user(&both), "7");
    assert_eq!(both.principal.roles, [Arc::from("a"), Arc::from("handler")]);
    for no_object in [json!("x"), json!(true), json!(null), json!([])] {
        let device = of(json!({"handler": no_object, "user_id": "ann"})).unwrap();
        assert!(device.principal.roles.is_empty());
    }
    assert_eq!(of(json!({"handler": {}})).unwrap_err(), Refusal::User);
}

#[test]
fn roles_and_facts_of_the_token_reach_the_principal() {
    let jwt = jwt(with_secret());
    let claims = json!({
        "user_id": "ann", "roles": "a b", "tenant": "acme", "floor": 3, "admin": false,
        "deep": {"x": 1}, "exp": NOW_SECONDS + 60,
    });
    let principal = judged(&jwt, &signed(Algorithm::HS256, &hmac(), &claims)).unwrap().principal;
    assert_eq!(principal.client_id.as_ref(), "c1");
    assert_eq!(principal.roles, [Arc::from("a"), Arc::from("b")]);
    let fact =
        |name: &str| principal.claims.iter().find(|(key, _)| **key == *name).map(|(_, value)| value.as_ref());
    assert_eq!((fact("tenant"), fact("floor"), fact("admin")), (Some("acme"), Some("3"), Some("false")));
    assert_eq!((fact("deep"), fact("exp")), (None, None));
    let bad = signed(Algorithm::HS256, &hmac(), &json!({"user_id": "ann", "roles": [1]}));
    assert_eq!(judged(&jwt, &bad).unwrap_err(), Refusal::Roles);
}

#[tokio::test]
async fn only_the_agreed_user_name_says_that_the_password_is_a_token() {
    let token = signed(Algorithm::HS256, &hmac(), &json!({"user_id": "ann"}));
    let jwt = jwt(with_secret());
    assert!(jwt.authenticate(&credentials("JWT", &token)).await.unwrap().is_ok());
    for other in ["jwt", "JWT ", "", "ann"] {
        assert!(jwt.authenticate(&credentials(other, &token)).await.is_none(), "{other}");
    }
    let none = Credentials { username: Some("JWT".to_owned()), ..Credentials::default() };
    assert!(jwt.authenticate(&none).await.is_none());
    let bad = jwt.authenticate(&credentials("JWT", b"hunter2")).await.unwrap();
    assert_eq!(bad.unwrap_err(), Reason::BadCredentials);
}

#[tokio::test]
async fn with_any_user_name_a_password_that_is_no_token_is_left_to_others() {
    let jwt = jwt(config::Jwt { username: String::new(), ..with_secret() });
    let token = signed(Algorithm::HS256, &hmac(), &json!({"user_id": "ann"}));
    assert!(jwt.authenticate(&credentials("whoever", &token)).await.unwrap().is_ok());
    for password in [b"hunter2".as_slice(), b"a.b", b"a.b.c.d", b"a b.c.d", b"..", b""] {
        assert!(jwt.authenticate(&credentials("ann", password)).await.is_none());
    }
}

#[test]
fn a_key_that_is_gone_takes_its_tokens_along() {
    let token = signed(Algorithm::HS256, &hmac(), &json!({"user_id": "ann"}));
    let identity = judged(&jwt(with_secret()), &token).unwrap();
    assert_eq!(jwt(with_secret()).still_holds(&identity.grant), Some(true));
    assert_eq!(jwt(with_public(RSA_PUBLIC)).still_holds(&identity.grant), Some(false));
    assert_eq!(jwt(with_secret()).still_holds(&Grant::Open), None);
}

#[test]
fn sets_give_keys_of_every_kind_and_leave_out_what_nobody_knows() {
    let pairs = curves();
    let point = |at: usize| pairs[at].1.der_bytes().to_vec();
    let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (p256, p384, ed) = (point(0), point(1), point(2));
    let (config, _dir) = with_set(&json!({"keys": [
        {"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"},
        {"kty": "future", "kid": "f"},
        {"kty": "EC", "crv": "P-256", "kid": "e2", "x": b64(&p256[1..33]), "y": b64(&p256[33..]), "use": "enc"},
        {"kty": "EC", "crv": "P-256", "kid": "e1", "x": b64(&p256[1..33]), "y": b64(&p256[33..]), "use": "sig"},
        {"kty": "EC", "crv": "P-384", "kid": "e3", "x": b64(&p384[1..49]), "y": b64(&p384[49..])},
        {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": b64(&ed), "key_ops": ["verify"]},
    ]}));
    let jwt = jwt(config);
    for ((algorithm, pair), kid) in pairs.iter().zip(["e1", "e3", "ed"]) {
        let token = with_kid(*algorithm, &private(*algorithm, pair), kid);
        assert!(judged(&jwt, &token).is_ok(), "{kid}");
    }
    let token = with_kid(Algorithm::ES256, &private(Algorithm::ES256, &pairs[0].1), "e2");
    assert_eq!(judged(&jwt, &token).unwrap_err(), Refusal::NoKey);
}

#[test]
fn keys_that_are_none_are_refused_with_their_place() {
    let secret = |text: &str| config::Jwt { secret: Some(Secret(text.to_owned())), ..config::Jwt::default() };
    assert_eq!(refused(&secret("")), "access.jwt.secret: the secret is empty");
    assert!(refused(&with_public(RSA_WEAK_PUBLIC)).contains("1024 bits"));
    assert!(
        refused(&with_public(&format!("hello\n{RSA_PRIVATE}")))
            .starts_with("access.jwt.public_key:2: this is a private")
    );
    assert!(refused(&with_public("nonsense")).contains("without a PEM block"));
    let set = |value: Value| {
        let (config, _dir) = with_set(&value);
        refused(&config)
    };
    assert!(set(json!({"keys": []})).ends_with("it has no keys"));
    assert!(set(json!([1])).contains("not a JSON Web Key Set"));
    // A point of the wrong length would make the verifier panic, one off the curve would verify nothing.
    for x in ["AA", "AAAA", &URL_SAFE_NO_PAD.encode([1; 31]), &URL_SAFE_NO_PAD.encode([1; 33])] {
        assert!(set(json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x}]})).contains("Ed25519"), "{x}");
    }
    let off = URL_SAFE_NO_PAD.encode([7; 32]);
    assert!(set(json!({"keys": [{"kty": "EC", "crv": "P-256", "x": off, "y": off}]})).contains("P-256"));
    assert!(set(json!({"keys": [{"kty": "oct", "k": ""}]})).contains("empty"));
    let many: Vec<Value> = (0..65).map(|_| json!({"kty": "oct", "k": "AAAA"})).collect();
    assert!(set(json!({"keys": many})).contains("65 keys"));
}

#[test]
fn a_fetched_set_cannot_bring_secrets() {
    let set = two_secrets().to_string();
    let refused = sources::fetched(set.as_bytes(), "https://idp.example/keys").map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("secret does not come from an address"), "{refused}");
}

#[test]
fn a_token_that_names_a_realm_is_for_that_one_alone() {
    let token = |claims: Value| signed(Algorithm::HS256, &hmac(), &claims);
    let jwt = jwt(with_secret());
    let bound = judged(&jwt, &token(json!({"user_id": "ann", "realm": "plant"}))).unwrap();
    assert_eq!(&*bound.realm, "plant");
    assert_eq!((jwt.may_enter(&bound, "plant"), jwt.may_enter(&bound, "default")), (Some(true), Some(false)));
    let free = judged(&jwt, &token(json!({"user_id": "ann", "realm": null}))).unwrap();
    assert_eq!((&*free.realm, jwt.may_enter(&free, "plant")), ("default", Some(true)));
    assert_eq!(jwt.may_enter(&Identity { grant: Grant::Open, ..free }, "plant"), None);
    for realm in [json!(""), json!("a/b"), json!(["plant"]), json!(1), json!("x".repeat(256))] {
        let refused = judged(&jwt, &token(json!({"user_id": "ann", "realm": realm})));
        assert_eq!(refused.unwrap_err(), Refusal::Realm, "{realm}");
    }
}
