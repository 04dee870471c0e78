//! Credentials: what proves who somebody is. An account has at most one password, whose verifier is the payload of an entry,
//! and tokens, of which the rules know hashes. To sign in is no entry: who signs in shows something that is here.
//!
//! Passwords stand with the accounts, tokens in a part of their own.

use crate::accounts::Accounts;
use crate::limits::{ROOMS_PER_TOKEN_MAX, TOKENS_PER_ACCOUNT_MAX};
use crate::permission::ServerPower;
use crate::tokens::{NewToken, Scope, TokenId, Tokens, Which};
use crate::{AccountId, Position, Principal, Refusal, Seq};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialCommand {
    /// Set a password. The payload is its verifier, made at the door. All tokens of the account end, but this one.
    SetPassword { who: AccountId, keep: Option<TokenId>, by: Principal },
    /// The same password has another verifier, with newer parameters. Nothing happens if it is not the one any more whose
    /// verifier is the entry `from`.
    RenewVerifier { who: AccountId, from: Seq },
    /// Make a token. What people call it is the payload.
    CreateToken { who: AccountId, token: Box<NewToken>, by: Principal },
    /// End tokens: who signed in with them is signed out.
    EndTokens { who: AccountId, which: Which, by: Principal },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialEvent {
    PasswordSet {
        who: AccountId,
        keep: Option<TokenId>,
        /// The verifier before: its payload is to be erased.
        before: Option<Seq>,
    },
    VerifierRenewed {
        who: AccountId,
        /// Its payload is to be erased.
        before: Seq,
    },
    TokenCreated {
        who: AccountId,
        id: TokenId,
        token: Box<NewToken>,
    },
    TokensEnded {
        who: AccountId,
        which: Which,
    },
}

pub(crate) fn decide(
    accounts: &Accounts,
    tokens: &Tokens,
    at: Position,
    command: &CredentialCommand,
) -> Result<CredentialEvent, Refusal> {
    match command {
        &CredentialCommand::SetPassword { who, keep, by } => {
            accounts.check_server(ServerPower::SetPassword, &by, Some(who))?;
            accounts.check(who)?;
            accounts.check_active(&Principal::Account(who))?;
            Ok(CredentialEvent::PasswordSet { who, keep, before: accounts.password(who) })
        }
        &CredentialCommand::RenewVerifier { who, from } => match accounts.password(who) {
            Some(before) if before == from => Ok(CredentialEvent::VerifierRenewed { who, before }),
            _ => Err(Refusal::OldPassword),
        },
        CredentialCommand::CreateToken { who, token, by } => {
            accounts.check_server(ServerPower::CreateToken, by, Some(*who))?;
            accounts.check(*who)?;
            accounts.check_active(&Principal::Account(*who))?;
            if token.rooms.len() > ROOMS_PER_TOKEN_MAX {
                return Err(Refusal::TooManyTokenRooms { max: ROOMS_PER_TOKEN_MAX });
            }
            // Devices make room for new ones by themselves.
            if token.scope != Scope::Device
                && tokens.count_of_scripts(*who, at.time) >= TOKENS_PER_ACCOUNT_MAX
            {
                return Err(Refusal::TooManyTokens { max: TOKENS_PER_ACCOUNT_MAX });
            }
            if tokens.has_key(&token.key) {
                return Err(Refusal::TokenTaken);
            }
            Ok(CredentialEvent::TokenCreated { who: *who, id: TokenId(at.seq.0), token: token.clone() })
        }
        &CredentialCommand::EndTokens { who, which, by } => {
            accounts.check_server(ServerPower::EndTokens, &by, Some(who))?;
            accounts.check(who)?;
            match which {
                Which::One(id) if !tokens.has(who, id) => Err(Refusal::NoToken),
                _ => Ok(CredentialEvent::TokensEnded { who, which }),
            }
        }
    }
}

pub(crate) fn evolve(
    (accounts, tokens): (&mut Accounts, &mut Tokens),
    at: Position,
    event: &CredentialEvent,
) {
    match *event {
        CredentialEvent::PasswordSet { who, keep, before: _ } => {
            accounts.set_password(who, at.seq);
            tokens.end(who, keep.map_or(Which::All, Which::AllBut));
        }
        CredentialEvent::VerifierRenewed { who, before: _ } => accounts.set_password(who, at.seq),
        CredentialEvent::TokenCreated { who, id, ref token } => {
            tokens.create(who, id, token, at.time);
        }
        CredentialEvent::TokensEnded { who, which } => tokens.end(who, which),
    }
}
