//! The messages of a SCRAM client (RFC 5802 section 7).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Bytes of a message; names may be long, nonces need not be.
const MESSAGE_BYTES_MAX: usize = 4096;

/// Characters of a client's nonce.
const NONCE_BYTES_MAX: usize = 256;

/// Why a message was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("the message is longer than {MESSAGE_BYTES_MAX} bytes")]
    TooLong,
    #[error("the message is not UTF-8, or has a NUL")]
    Text,
    #[error("the client demands channel binding")]
    ChannelBinding,
    #[error("the client wants to act for somebody else")]
    AnotherUser,
    #[error("the client demands an extension")]
    Extension,
    #[error("the name is empty, or has an escape other than `=2C` and `=3D`")]
    Name,
    #[error("the nonce is empty, too long, or has characters that may not be in it")]
    Nonce,
    #[error("the proof is not base64 of 32 bytes")]
    Proof,
    #[error("the message is not built as RFC 5802 says")]
    Form,
}

/// `client-first-message`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientFirst {
    /// `gs2-header`: `n,,` or `y,,`.
    pub(super) header: String,
    /// `client-first-message-bare`: what follows it.
    pub(super) bare: String,
    /// The name, with its escapes undone.
    pub(super) name: String,
    pub(super) nonce: String,
}

/// `client-final-message`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientFinal {
    /// What `c=` says in base64.
    pub(super) binding: Vec<u8>,
    pub(super) nonce: String,
    /// `client-final-message-without-proof`.
    pub(super) without_proof: String,
    pub(super) proof: [u8; 32],
}

impl ClientFirst {
    pub(super) fn parse(data: &[u8]) -> Result<ClientFirst, Malformed> {
        let text = text(data)?;
        let (flag, rest) = text.split_once(',').ok_or(Malformed::Form)?;
        match flag {
            "n" | "y" => {}
            _ if flag.starts_with("p=") => return Err(Malformed::ChannelBinding),
            _ => return Err(Malformed::Form),
        }
        let (other, bare) = rest.split_once(',').ok_or(Malformed::Form)?;
        if !other.is_empty() {
            return Err(Malformed::AnotherUser);
        }
        let mut attributes = bare.split(',');
        let name = match attributes.next() {
            Some(name) if name.starts_with("m=") => return Err(Malformed::Extension),
            name => name.and_then(|name| name.strip_prefix("n=")).ok_or(Malformed::Form)?,
        };
        let nonce = attributes.next().and_then(|nonce| nonce.strip_prefix("r=")).ok_or(Malformed::Form)?;
        if nonce.is_empty()
            || nonce.len() > NONCE_BYTES_MAX
            || !nonce.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(Malformed::Nonce);
        }
        Ok(ClientFirst {
            header: format!("{flag},,"),
            name: unescaped(name).ok_or(Malformed::Name)?,
            nonce: nonce.to_owned(),
            bare: bare.to_owned(),
        })
    }
}

impl ClientFinal {
    pub(super) fn parse(data: &[u8]) -> Result<ClientFinal, Malformed> {
        let text = text(data)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Malformed::Form)?;
        let mut attributes = without_proof.split(',');
        let binding =
            attributes.next().and_then(|binding| binding.strip_prefix("c=")).ok_or(Malformed::Form)?;
        let nonce = attributes.next().and_then(|nonce| nonce.strip_prefix("r=")).ok_or(Malformed::Form)?;
        let proof = STANDARD.decode(proof).ok().and_then(|proof| proof.try_into().ok());
        Ok(ClientFinal {
            binding: STANDARD.decode(binding).map_err(|_| Malformed::Form)?,
            nonce: nonce.to_owned(),
            without_proof: without_proof.to_owned(),
            proof: proof.ok_or(Malformed::Proof)?,
        })
    }
}

fn text(data: &[u8]) -> Result<&str, Malformed> {
    if data.len() > MESSAGE_BYTES_MAX {
        return Err(Malformed::TooLong);
    }
    std::str::from_utf8(data).ok().filter(|text| !text.contains('\0')).ok_or(Malformed::Text)
}

/// `saslname`: a comma is `=2C` and an equals sign `=3D`.
fn unescaped(name: &str) -> Option<String> {
    let mut pieces = name.split('=');
    let mut out = pieces.next()?.to_owned();
    for piece in pieces {
        let (escape, rest) = piece.split_at_checked(2)?;
        out.push(match escape {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        out.push_str(rest);
    }
    (!out.is_empty()).then_some(out)
}
