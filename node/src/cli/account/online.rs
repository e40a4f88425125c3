//! The same at a running node.

use serde_json::json;
use weir_admin::client::Client;
use weir_admin::proto::{
    AccountsCreateRequest, AccountsDeleteRequest, AccountsListRequest, AccountsSetPasswordRequest,
    AccountsShowPolicyRequest,
};

use super::{Action, Args};
use crate::cli::Failure;
use crate::cli::admin::{List, block_on, refused, say, say_json, text};

/// Asks the node, and prints what it says. `named`: one was said, so that it is connected before a password is asked.
pub fn run(args: &Args, named: bool) -> Result<(), Failure> {
    let server = &args.action.place().server;
    if named || matches!(args.action, Action::Add { .. } | Action::Passwd { .. }) {
        block_on(async { server.connect().await.map(drop) })?;
    }
    let password = match &args.action {
        Action::Add { name, password, .. } | Action::Passwd { name, password, .. } => password.read(name)?,
        _ => String::new(),
    };
    block_on(async {
        let client = server.connect().await?;
        match &args.action {
            Action::Add { name, role, .. } => {
                let request = AccountsCreateRequest { name: name.clone(), password, roles: role.clone() };
                client.accounts().create(request).await.map_err(refused)?;
                say(&format!("account added: {}\n", text(name)))
            }
            Action::Passwd { name, .. } => {
                let request = AccountsSetPasswordRequest { name: name.clone(), password };
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
    let mut list = List::begin(json, &["name", "password", "roles"])?;
    let mut page_token = String::new();
    loop {
        let request = AccountsListRequest { page_size: 0, page_token };
        let page = client.accounts().list(request).await.map_err(refused)?.into_inner();
        let entries = page.accounts.iter().map(|account| {
            let kind = Some(&account.password_kind).filter(|kind| !kind.is_empty());
            let value = json!({
                "name": account.name, "roles": account.roles, "password": kind, "scram": account.scram,
            });
            let kinds = if account.scram {
                format!("{}+scram", account.password_kind)
            } else {
                account.password_kind.clone()
            };
            (value, vec![account.name.clone(), kinds, account.roles.join(",")])
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
