//! Who may administer: tokens with scopes and an end, certificates, and nobody else where a node is not open.

use weir_admin::client::{Client as Admin, Target};
use weir_admin::proto::{
    AccountsCreateTokenRequest, AccountsListTokensRequest, AccountsRevokeTokenRequest, SessionsKickRequest,
    SessionsListRequest,
};
use weir_admin::tonic::Code;
use weir_testkit::eventually;

use crate::authority::{Authority, secure};
use crate::scene::{admin, at, bearer, bearing, closed, json, node, refusal, text, token, weir, weir_with};

fn list() -> SessionsListRequest {
    SessionsListRequest::default()
}

#[tokio::test]
async fn an_open_node_asks_nobody_of_its_machine_and_a_closed_one_asks_everybody() {
    let open = node().start();
    admin(&open).await.sessions().list(list()).await.expect("answered");
    for closed in [closed().start(), node().set("access.jwt.secret", "hush").start()] {
        let (code, detail) = refusal(admin(&closed).await.sessions().list(list()).await);
        assert_eq!((code, detail.reason.as_str()), (Code::Unauthenticated, "no_credentials"));
        assert!(detail.hint.contains("Bearer"), "{detail:?}");
    }
}

#[tokio::test]
async fn a_token_lets_do_what_its_scopes_say_and_no_more() {
    let node = closed().start();
    let reader = bearer(&node, &["sessions:read"]).await;
    reader.sessions().list(list()).await.expect("answered");
    let kick = SessionsKickRequest { client_id: "c".to_owned(), ..Default::default() };
    let (code, detail) = refusal(reader.sessions().kick(kick.clone()).await);
    assert_eq!((code, detail.reason.as_str()), (Code::PermissionDenied, "scope"));
    let (code, _) = refusal(reader.accounts().list_tokens(AccountsListTokensRequest {}).await);
    assert_eq!(code, Code::PermissionDenied);
    let writer = bearer(&node, &["sessions:*"]).await;
    assert_eq!(refusal(writer.sessions().kick(kick).await).0, Code::NotFound);
}

#[tokio::test]
async fn what_is_shown_has_to_be_good_even_where_nobody_has_to_show_anything() {
    let node = node().start();
    let good = token(&node, &["admin"], &[]);
    for bad in ["", "weir_x_y", "nonsense", &good[..good.len() - 1], &format!("{good}0")] {
        let (code, detail) = refusal(bearing(&node, bad).await.sessions().list(list()).await);
        assert_eq!((code, detail.reason.as_str()), (Code::Unauthenticated, "bad_token"), "{bad}");
    }
    bearing(&node, &good).await.sessions().list(list()).await.expect("answered");
}

#[tokio::test]
async fn a_token_ends_at_its_time_or_when_it_is_revoked() {
    let node = closed().start();
    let short = token(&node, &["sessions:read"], &["--expires", "1ms"]);
    let (code, detail) = refusal(bearing(&node, &short).await.sessions().list(list()).await);
    assert_eq!((code, detail.reason.as_str()), (Code::Unauthenticated, "expired"));

    let (root, other) = (bearer(&node, &["admin"]).await, token(&node, &["sessions:read"], &[]));
    let holder = bearing(&node, &other).await;
    let mut asked = holder.sessions();
    asked.list(list()).await.expect("answered");
    let id = other.split('_').nth(1).expect("an id").to_owned();
    root.accounts().revoke_token(AccountsRevokeTokenRequest { id: id.clone() }).await.expect("revoked");
    let (code, detail) = refusal(asked.list(list()).await);
    assert_eq!(
        (code, detail.reason.as_str()),
        (Code::Unauthenticated, "bad_token"),
        "on the same connection"
    );
    let again = root.accounts().revoke_token(AccountsRevokeTokenRequest { id }).await;
    assert_eq!(refusal(again).1.field, "id");
}

#[tokio::test]
async fn a_token_made_beside_the_node_is_noticed_and_so_is_its_end() {
    let node = closed().start();
    let first = token(&node, &["sessions:read"], &[]);
    let holder = bearing(&node, &first).await;
    holder.sessions().list(list()).await.expect("answered");
    let file = node.data_dir().join("admin-tokens.toml").display().to_string();
    let id = first.split('_').nth(1).expect("an id");
    let revoked = weir(&["token", "revoke", id, "--file", &file]);
    assert!(revoked.status.success(), "{}", text(&revoked));
    crate::scene::until("the token's end", async || holder.sessions().list(list()).await.err()).await;
}

#[tokio::test]
async fn nobody_gives_a_scope_that_they_do_not_have() {
    let node = closed().start();
    let clerk = bearer(&node, &["accounts:*", "sessions:read"]).await;
    let make = |scopes: &[&str]| AccountsCreateTokenRequest {
        name: "next".to_owned(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        expires_in_seconds: 60,
    };
    let made = clerk.accounts().create_token(make(&["sessions:read"])).await.expect("made").into_inner();
    bearing(&node, &made.secret).await.sessions().list(list()).await.expect("answered");
    for scopes in [["admin"], ["sessions:write"], ["sessions:*"]] {
        let (code, detail) = refusal(clerk.accounts().create_token(make(&scopes)).await);
        assert_eq!((code, detail.field.as_str()), (Code::PermissionDenied, "scopes"), "{scopes:?}");
    }
    for (scopes, field) in [(&["everything"][..], "scopes"), (&[], "scopes")] {
        assert_eq!(refusal(clerk.accounts().create_token(make(scopes)).await).1.field, field);
    }
    let listed =
        clerk.accounts().list_tokens(AccountsListTokensRequest {}).await.expect("listed").into_inner();
    assert_eq!(listed.tokens.len(), 2);
}

#[tokio::test]
async fn over_tls_a_certificate_stands_for_the_scopes_of_its_subject() {
    let authority = Authority::new();
    ["ops", "guest"].iter().for_each(|name| authority.certify(name));
    let node = closed()
        .set("admin.security", "tls")
        .set("admin.tls.client_ca", authority.path("ca.pem").display())
        .set("admin.certificate_scopes", "{ ops = [\"sessions:read\"] }")
        .start();
    let plain = secure(&node, &node.data_dir().join("dev-tls/ca.pem"));

    let ops = Admin::connect(&authority.shown(plain.clone(), "ops")).await.expect("connected");
    ops.sessions().list(list()).await.expect("answered");
    let (code, _) = refusal(ops.accounts().list_tokens(AccountsListTokensRequest {}).await);
    assert_eq!(code, Code::PermissionDenied);
    // Verified, and nobody has given it a scope.
    let guest = Admin::connect(&authority.shown(plain.clone(), "guest")).await.expect("connected");
    assert_eq!(refusal(guest.sessions().list(list()).await).0, Code::Unauthenticated);
    // No certificate, but a token.
    let nobody = Admin::connect(&plain).await.expect("connected");
    assert_eq!(refusal(nobody.sessions().list(list()).await).0, Code::Unauthenticated);
    let bearer = Target { token: Some(token(&node, &["sessions:read"], &[])), ..plain };
    Admin::connect(&bearer).await.expect("connected").sessions().list(list()).await.expect("answered");
}

#[tokio::test]
async fn a_certificate_of_somebody_else_gets_no_connection() {
    let (authority, forger) = (Authority::new(), Authority::new());
    forger.certify("ops");
    let node = closed()
        .set("admin.security", "tls")
        .set("admin.tls.client_ca", authority.path("ca.pem").display())
        .set("admin.certificate_scopes", "{ ops = [\"admin\"] }")
        .start();
    let plain = secure(&node, &node.data_dir().join("dev-tls/ca.pem"));
    let forged = match Admin::connect(&forger.shown(plain, "ops")).await {
        Ok(forged) => forged.sessions().list(list()).await.err().map(|status| status.code()),
        Err(_) => None,
    };
    assert!(!matches!(forged, Some(Code::Ok)), "{forged:?}");
    eventually("the refused handshake", || {
        (node.metrics().value("weir_admin_connections_refused_total{reason=\"handshake\"}") >= 1.0)
            .then_some(())
    });
    // Whoever trusts another authority does not connect to the node either.
    assert!(Admin::connect(&secure(&node, &forger.path("ca.pem"))).await.is_err());
}

#[test]
fn a_listener_off_loopback_has_tls_and_never_lets_in_without_credentials() {
    let node = node().listen_at("admin", "0.0.0.0:0").set("access.anonymous", "anywhere").start();
    let server = format!("127.0.0.1:{}", node.address("admin").port());
    let plain = weir(&["session", "list", "--server", &server, "--timeout", "3"]);
    assert_eq!(plain.status.code(), Some(3), "{}", text(&plain));
    let secure = weir(&["session", "list", "--server", &format!("https://{server}"), "--insecure"]);
    assert_eq!(secure.status.code(), Some(4), "{}", text(&secure));
}

#[test]
fn the_command_shows_a_token_of_the_environment_or_of_a_context() {
    let node = closed().start();
    let (token, home) = (token(&node, &["sessions:read"], &[]), tempfile::tempdir().expect("a home"));
    let server = format!("http://{}", node.address("admin"));
    let bare = at(&node, &["session", "list"]);
    assert_eq!(bare.status.code(), Some(4), "{}", text(&bare));
    let named = weir_with(&["session", "list", "--json", "--server", &server], "", &[("WEIR_TOKEN", &token)]);
    assert_eq!(json(&named), serde_json::json!([]));

    let config = home.path().display().to_string();
    let run = |words: &[&str], stdin: &str| weir_with(words, stdin, &[("XDG_CONFIG_HOME", &config)]);
    let added = run(&["context", "add", "prod", "--server", &server, "--token-stdin"], &token);
    assert!(added.status.success(), "{}", text(&added));
    assert!(run(&["session", "list"], "").status.success());
    let listed = run(&["context", "list", "--json"], "");
    assert_eq!(json(&listed)[0]["current"], true);
    assert!(!text(&listed).contains(&token));
    // A token is for its own server.
    let other = run(&["session", "list", "--server", &server], "");
    assert_eq!(other.status.code(), Some(4), "{}", text(&other));
    assert_eq!(run(&["session", "list", "--context", "none"], "").status.code(), Some(2));
}
