//! `Accounts`: who may come in, the policy, and the tokens of this API.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::{Code, Request, Response, Status};
use weir_broker::access::{AccountError, AccountFile, Listed, NewAccount};

use super::{Shared, blocking};
use crate::audit;
use crate::caller::Caller;
use crate::error::Refused;
use crate::page;
use crate::proto::{
    Account, AccountsCreateRequest, AccountsCreateResponse, AccountsCreateTokenRequest,
    AccountsCreateTokenResponse, AccountsDeleteRequest, AccountsDeleteResponse, AccountsListRequest,
    AccountsListResponse, AccountsListTokensRequest, AccountsListTokensResponse, AccountsRevokeTokenRequest,
    AccountsRevokeTokenResponse, AccountsSetPasswordRequest, AccountsSetPasswordResponse,
    AccountsShowPolicyRequest, AccountsShowPolicyResponse, Token, accounts_server,
};
use crate::scope::Scopes;
use crate::tokens::{self, TokenError};

/// Bytes of a password; more was not meant as one. Bytes of a policy that is shown.
const PASSWORD_BYTES_MAX: usize = 64 << 10;
const POLICY_BYTES_MAX: u64 = 1 << 20;

pub struct Accounts(pub Shared);

#[tonic::async_trait]
impl accounts_server::Accounts for Accounts {
    async fn list(
        &self,
        request: Request<AccountsListRequest>,
    ) -> Result<Response<AccountsListResponse>, Status> {
        let request = request.into_inner();
        let max = page::size(&self.0.config, request.page_size)?;
        let after: Option<String> = page::behind(&request.page_token)?;
        let path = self.file()?;
        let mut all =
            blocking(move || if path.exists() { Ok(open(&path)?.list()) } else { Ok(Vec::new()) }).await?;
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let behind = |account: &Listed| after.as_ref().is_none_or(|after| account.name > *after);
        let mut accounts: Vec<_> = all.into_iter().filter(behind).take(max + 1).map(told).collect();
        let more = accounts.len() > max;
        accounts.truncate(max);
        let next = accounts.last().filter(|_| more).map(|last| page::token(&last.name));
        Ok(Response::new(AccountsListResponse { accounts, next_page_token: next.unwrap_or_default() }))
    }

    async fn create(
        &self,
        request: Request<AccountsCreateRequest>,
    ) -> Result<Response<AccountsCreateResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let AccountsCreateRequest { name, password, roles, wampcra, public_keys, realms } = request;
        let password_bytes = password.len();
        let password = Some(password).filter(|password| !password.is_empty());
        let new = NewAccount { name: name.clone(), password, roles, realms, public_keys, wampcra };
        let done = self.change(password_bytes, move |file, iterations| file.add(&new, iterations));
        let done = done.await.map(|()| AccountsCreateResponse {});
        audit::changed(&caller, "accounts.create", &name, "", done)
    }

    async fn set_password(
        &self,
        request: Request<AccountsSetPasswordRequest>,
    ) -> Result<Response<AccountsSetPasswordResponse>, Status> {
        let caller = Caller::of(&request)?;
        let AccountsSetPasswordRequest { name, password, wampcra } = request.into_inner();
        let done = self.change(password.len(), {
            let name = name.clone();
            move |file, iterations| file.set_password(&name, &password, wampcra, iterations)
        });
        let done = done.await.map(|()| AccountsSetPasswordResponse {});
        audit::changed(&caller, "accounts.set_password", &name, "", done)
    }

    async fn delete(
        &self,
        request: Request<AccountsDeleteRequest>,
    ) -> Result<Response<AccountsDeleteResponse>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let done = self.change(0, {
            let name = name.clone();
            move |file, _| file.remove(&name)
        });
        let done = done.await.map(|()| AccountsDeleteResponse {});
        audit::changed(&caller, "accounts.delete", &name, "", done)
    }

    async fn show_policy(
        &self,
        _: Request<AccountsShowPolicyRequest>,
    ) -> Result<Response<AccountsShowPolicyResponse>, Status> {
        let source = self.0.machine.accounts().policy;
        let path = PathBuf::from(&source);
        let text = blocking(move || {
            let is_shown = std::fs::metadata(&path).is_ok_and(|found| found.len() <= POLICY_BYTES_MAX);
            Ok(if is_shown { std::fs::read_to_string(&path).unwrap_or_default() } else { String::new() })
        });
        let (text, open) = (text.await?, self.0.broker.access().is_open());
        Ok(Response::new(AccountsShowPolicyResponse { source, open, text }))
    }

    async fn create_token(
        &self,
        request: Request<AccountsCreateTokenRequest>,
    ) -> Result<Response<AccountsCreateTokenResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let name = request.name.clone();
        let done = self.make_token(&caller, request).await;
        audit::changed(&caller, "accounts.create_token", &name, "", done)
    }

    async fn list_tokens(
        &self,
        _: Request<AccountsListTokensRequest>,
    ) -> Result<Response<AccountsListTokensResponse>, Status> {
        let tokens = self.0.tokens.clone();
        let tokens = blocking(move || Ok(tokens.list()?)).await?;
        let tokens = tokens.into_iter().map(token).collect();
        Ok(Response::new(AccountsListTokensResponse { tokens }))
    }

    async fn revoke_token(
        &self,
        request: Request<AccountsRevokeTokenRequest>,
    ) -> Result<Response<AccountsRevokeTokenResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = request.into_inner().id;
        let (tokens, revoked) = (self.0.tokens.clone(), id.clone());
        let done = blocking(move || Ok(tokens.revoke(&revoked)?)).await;
        audit::changed(
            &caller,
            "accounts.revoke_token",
            &id,
            "",
            done.map(|()| AccountsRevokeTokenResponse {}),
        )
    }
}

impl Accounts {
    fn file(&self) -> Result<PathBuf, Refused> {
        let settings = self.0.machine.accounts();
        settings.file.ok_or_else(|| {
            let message = "this node has no accounts: `access.accounts.file` is not set";
            Refused::new(Code::FailedPrecondition, "not_configured", message)
        })
    }

    /// Changes the accounts file and has access read it again.
    async fn change(
        &self,
        password_bytes: usize,
        change: impl FnOnce(&mut AccountFile, u32) -> Result<(), AccountError> + Send + 'static,
    ) -> Result<(), Refused> {
        if password_bytes > PASSWORD_BYTES_MAX {
            let hint = format!("at most {PASSWORD_BYTES_MAX} bytes");
            return Err(Refused::field("password", "it is too long", hint));
        }
        let (path, iterations) = (self.file()?, self.0.machine.accounts().scram_iterations);
        blocking(move || {
            let mut file = open(&path)?;
            change(&mut file, iterations)?;
            Ok(file.save()?)
        })
        .await?;
        self.0
            .broker
            .access()
            .reload()
            .await
            .map_err(|error| Refused::internal(format!("it is written, and cannot be read again: {error}")))
    }

    async fn make_token(
        &self,
        caller: &Caller,
        request: AccountsCreateTokenRequest,
    ) -> Result<AccountsCreateTokenResponse, Refused> {
        let scopes = Scopes::parse(&request.scopes).map_err(TokenError::from)?;
        if !caller.scopes.cover(&scopes) {
            let message = "nobody can give a scope that they do not have";
            let refused = Refused::new(Code::PermissionDenied, "scope", message);
            return Err(
                Refused { field: "scopes", ..refused }.hint(format!("the caller has {}", caller.scopes))
            );
        }
        let lasts = request.expires_in_seconds;
        let lasts = (lasts > 0).then(|| Duration::from_secs(lasts));
        let tokens = self.0.tokens.clone();
        let made = blocking(move || Ok(tokens.create(&request.name, &request.scopes, lasts)?));
        let (made, secret) = made.await?;
        Ok(AccountsCreateTokenResponse { token: Some(token(made)), secret })
    }
}

fn open(path: &Path) -> Result<AccountFile, Refused> {
    Ok(AccountFile::open(path)?)
}

fn told(account: Listed) -> Account {
    let password_kind = account.password.unwrap_or_default().to_owned();
    let Listed { name, roles, realms, public_keys, scram, wampcra, .. } = account;
    Account { name, roles, password_kind, scram, wampcra, public_keys, realms }
}

fn token(token: tokens::Token) -> Token {
    Token {
        id: token.id,
        name: token.name,
        scopes: token.scopes,
        created_unix_ms: token.created_ms,
        expires_unix_ms: token.expires_ms,
    }
}

impl From<AccountError> for Refused {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Name { .. } => {
                Refused::field("name", "it cannot be one", "1 to 1024 bytes without control characters")
            }
            AccountError::Exists { .. } => {
                let refused = Refused::new(Code::AlreadyExists, "exists", "there is an account of this name");
                Refused { field: "name", ..refused }
            }
            AccountError::Unknown { .. } => Refused::not_found("name", "there is no account of this name"),
            AccountError::EmptyPassword => {
                Refused::field("password", "it is empty", "at least one character")
            }
            AccountError::Password { problem } => Refused::field("password", problem, "another one"),
            AccountError::NothingToDerive => {
                Refused::field("password", "the key for WAMP-CRA is made of it", "at least one character")
            }
            AccountError::Realm { .. } => {
                Refused::field("realms", "one cannot be a realm", "letters, digits, `_`, `-` and `.`")
            }
            AccountError::PublicKey { .. } => {
                Refused::field("public_keys", "one is no Ed25519 key", "64 hexadecimal digits")
            }
            AccountError::KeyTaken { .. } => {
                Refused::field("public_keys", "one is somebody's already", "a key of its own")
            }
            AccountError::Io { .. } | AccountError::Load(_) | AccountError::Syntax { .. } => {
                Refused::internal(error.to_string())
            }
        }
    }
}

impl From<TokenError> for Refused {
    fn from(error: TokenError) -> Self {
        let message = error.to_string();
        match error {
            TokenError::Name => Refused::field("name", message, "a word for whom or what it is"),
            TokenError::NoScope | TokenError::Scope(_) => {
                Refused::field("scopes", message, "as sessions:read")
            }
            TokenError::Unknown => Refused::not_found("id", message),
            TokenError::TooMany => Refused::new(Code::ResourceExhausted, "busy", message),
            TokenError::Io { .. } | TokenError::Malformed { .. } | TokenError::Random => {
                Refused::internal(message)
            }
        }
    }
}
