//! The same at a running node.

use serde_json::json;
use weir_admin::client::Client;
use weir_admin::proto::{
    AccountsCreateRequest, AccountsDeleteRequest, AccountsListRequest, AccountsSetPasswordRequest,
    AccountsShowPolicyRequest,
};

use super::{Action, Args, proofs};
use crate::cli::Failure;
use crate::cli::admin::{List, block_on, refused, say, say_json, text};

/// Asks the node, and prints what it says. `named`: one was said, so that it is connected before a password is asked.
pub fn run(args: &Args, named: bool) -> Result<(), Failure> {
    let server = &args.action.place().server;
    if named || matches!(args.action, Action::Add { .. } | Action::Passwd { .. }) {
        block_on(async { server.connect().await.map(drop) })?;
    }
    let password = match &args.action {
        Action::Add { name, password, wamp, .. } => wamp.password(name, password)?.unwrap_or_default(),
        Action::Passwd { name, password, .. } => password.read(name)?,
        _ => String::new(),
    };
    block_on(async {
        let client = server.connect().await?;
        match &args.action {
            Action::Add { name, role, realm, wamp, .. } => {
                let request = AccountsCreateRequest {
                    name: name.clone(),
                    password,
                    roles: role.clone(),
                    wampcra: wamp.wampcra,
                    public_keys: wamp.public_key.clone(),
                    realms: realm.clone(),
                };
                client.accounts().create(request).await.map_err(refused)?;
                say(&format!("account added: {}\n", text(name)))
            }
            Action::Passwd { name, wampcra, .. } => {
                let request = AccountsSetPasswordRequest { name: name.clone(), password, wampcra: *wampcra };
                client.accounts().set_password(request).await.map_err(refused)?;
                say(&format!("password changed: {}\n", text(name)))
            }
            Action::Remove { name, .. } => {
                let request = AccountsDeleteRequest { name: name.clone() };
                client.accounts().delete(request).await.map_err(refused)?;
                say(&format!("account removed: {}\n", text(name)))
            }
            Action::List { json, .. } => list(&client, *json).await,
            Action::Policy { json, .. } => policy(&client, *json).await,
        }
    })
}

async fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let mut list = List::begin(json, &["name", "proofs", "roles", "realms"])?;
    let mut page_token = String::new();
    loop {
        let request = AccountsListRequest { page_size: 0, page_token };
        let page = client.accounts().list(request).await.map_err(refused)?.into_inner();
        let entries = page.accounts.iter().map(|account| {
            let kind = Some(&*account.password_kind).filter(|kind| !kind.is_empty());
            let value = json!({
                "name": account.name, "roles": account.roles, "password": kind, "scram": account.scram,
                "wampcra": account.wampcra, "public_keys": account.public_keys, "realms": account.realms,
            });
            let has_key = !account.public_keys.is_empty();
            let kinds = proofs(kind, account.scram, account.wampcra, has_key);
            let (roles, realms) = (account.roles.join(","), account.realms.join(","));
            (value, vec![account.name.clone(), kinds, roles, realms])
        });
        list.page(entries.collect())?;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return list.end().map(drop);
        }
    }
}

async fn policy(client: &Client, json: bool) -> Result<(), Failure> {
    let answer = client.accounts().show_policy(AccountsShowPolicyRequest {}).await.map_err(refused)?;
    let answer = answer.into_inner();
    if json {
        return say_json(&json!({ "source": answer.source, "open": answer.open, "text": answer.text }));
    }
    let open = if answer.open { " (everybody may do everything)" } else { "" };
    say(&format!("# access.policy = {}{open}\n{}", text(&answer.source), answer.text))
}
