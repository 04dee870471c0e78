//! Who a connection speaks as, and how it signs in before its first request. Every reconnect signs in again.
//!
//! ```text
//! connect ──▶ sign-in, if there is a proof ──▶ requests
//!               └ refused: an error that no retry repeats
//! ```
//!
//! A secret goes only where `Connection::open` leads: with TLS to other machines, plain on this one.

use vang_proto::Secret;
use vang_proto::vang::{Action, Hello};

use crate::address::ServerAddr;
use crate::connection::Connection;
use crate::retry::Deadline;
use crate::trouble::ClientError;

/// Who asks.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// A guest's or an account's name. Without one the token says whose it is; without both it is a guest.
    pub name: Option<String>,
    /// `None`: the name alone.
    pub proof: Option<Proof>,
}

/// What proves that somebody is an account.
#[derive(Clone, Debug)]
pub enum Proof {
    Password(Secret),
    Token(Secret),
    /// Tokens by the id of a journal, the newest last: servers with different data have had this address. The server is
    /// asked which journal it has.
    TokenByJournal(Vec<(String, Secret)>),
}

impl Identity {
    /// A name alone.
    pub fn named(name: impl Into<String>) -> Identity {
        Identity { name: Some(name.into()), proof: None }
    }

    /// A token, and the name that it should be for.
    pub fn with_token(name: Option<String>, token: Secret) -> Identity {
        Identity { name, proof: Some(Proof::Token(token)) }
    }
}

/// Connects and signs in.
pub fn open(place: &ServerAddr, identity: &Identity, deadline: Deadline) -> Result<Connection, ClientError> {
    let mut connection = Connection::open(place, deadline)?;
    sign_in(&mut connection, identity, deadline)?;
    Ok(connection)
}

/// Signs in, if there is something to sign in with.
pub(crate) fn sign_in(
    connection: &mut Connection,
    identity: &Identity,
    deadline: Deadline,
) -> Result<(), ClientError> {
    let (password, token) = match &identity.proof {
        None => return Ok(()),
        Some(Proof::Password(password)) => (Some(password.clone()), None),
        Some(Proof::Token(token)) => (None, Some(token.clone())),
        Some(Proof::TokenByJournal(tokens)) => (None, token_by_journal(connection, tokens, deadline)?),
    };
    let action = Action::SignIn { password, token, device: None };
    connection.ask(identity.name.as_deref(), &action, deadline).map(drop)
}

/// The token for the journal of this server; the newest if it does not tell guests which it has.
fn token_by_journal(
    connection: &mut Connection,
    tokens: &[(String, Secret)],
    deadline: Deadline,
) -> Result<Option<Secret>, ClientError> {
    let journal = match connection.ask(None, &Action::Hello, deadline) {
        Ok(reply) => reply.keys::<Hello>().map(|hello| hello.journal),
        Err(fault @ ClientError::Refused { .. }) if !fault.is_retryable() => None,
        Err(fault) => return Err(fault),
    };
    let of_journal = tokens.iter().rev().find(|(of, _)| journal.as_ref() == Some(of));
    Ok(of_journal.or(tokens.last()).map(|(_, token)| token.clone()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vang_proto::Frame;
    use vang_proto::vang::{Code, NoKeys, SignedIn};

    use super::*;
    use crate::scripted::{Server, Step, error, ok, soon};
    use crate::{Follow, History, Search, ask};

    const TOKEN: &str = "vang_5ec4e7";

    fn ada() -> Identity {
        Identity::with_token(Some("ada".to_owned()), Secret::new(TOKEN.to_owned()))
    }

    /// A request's name of the action, `as`, and secret.
    fn said(request: &Frame) -> [Option<String>; 3] {
        let text = |key| request.header.text(key).map(std::borrow::Cow::into_owned);
        [text("action"), text("as"), text("token").or_else(|| text("password"))]
    }

    fn words(words: [&str; 3]) -> [Option<String>; 3] {
        words.map(|word| Some(word.to_owned()).filter(|word| !word.is_empty()))
    }

    fn signed_in(re: u64) -> Step {
        Step::Write(ok(re, &SignedIn { name: "ada".to_owned(), ..SignedIn::default() }, "ada"))
    }

    #[test]
    fn a_connection_signs_in_before_its_first_request() {
        for (proof, secret) in [
            (Proof::Token(Secret::new(TOKEN.to_owned())), TOKEN),
            (Proof::Password("horse".to_owned().into()), "horse"),
        ] {
            let pong = Step::Write(ok(2, &NoKeys {}, "pong"));
            let server = Server::start(vec![vec![Step::Request, signed_in(1), Step::Request, pong]]);
            let identity = Identity { name: Some("ada".to_owned()), proof: Some(proof) };
            let reply = ask(&server.place(), &identity, &Action::Ping, soon(), &mut |_| {});
            assert_eq!(reply.unwrap().text, "pong");
            assert_eq!(said(&server.request()), words(["sign-in", "ada", secret]));
            assert_eq!(said(&server.request()), words(["ping", "ada", ""]));
        }
    }

    #[test]
    fn a_retry_signs_in_again_and_a_refused_sign_in_is_not_repeated() {
        let refused = |code| Step::Write(error(1, code, "no", &[]));
        let server = Server::start(vec![
            vec![Step::Request, refused(Code::Busy)],
            vec![Step::Request, signed_in(1), Step::Request],
            vec![Step::Request, refused(Code::WrongSecret)],
        ]);
        let mut retries = 0;
        let outcome = ask(&server.place(), &ada(), &Action::Ping, soon(), &mut |_| retries += 1);
        let fault = outcome.unwrap_err();
        assert_eq!(retries, 2, "{fault}");
        assert!(fault.advice().is_some_and(|advice| advice.contains("vang login NAME")), "{fault:?}");
        let actions = [(); 4].map(|()| said(&server.request())[0].clone().unwrap());
        assert_eq!(actions, ["sign-in", "sign-in", "ping", "sign-in"]);
    }

    #[test]
    fn the_journal_chooses_the_token() {
        let hello = |re| {
            let hello = Hello {
                protocol: 1,
                server: "vang".to_owned(),
                journal: "a".to_owned(),
                epoch: "e".to_owned(),
                seq: 1,
                name: "guest:anon".to_owned(),
            };
            Step::Write(ok(re, &hello, "vang"))
        };
        // Who does not admit guests does not say which journal it has.
        let hidden = |re| Step::Write(error(re, Code::SignInNeeded, "no guests", &[]));
        for (answer, token) in [(hello(1), "of a"), (hidden(1), "of b")] {
            let server = Server::start(vec![vec![Step::Request, answer, Step::Request, signed_in(2)]]);
            let tokens = ["a", "b"].map(|journal| (journal.to_owned(), Secret::new(format!("of {journal}"))));
            let identity = Identity { name: None, proof: Some(Proof::TokenByJournal(tokens.to_vec())) };
            open(&server.place(), &identity, soon()).unwrap();
            assert_eq!(said(&server.request()), words(["hello", "", ""]));
            assert_eq!(said(&server.request()), words(["sign-in", "", token]));
        }
    }

    #[test]
    fn nothing_that_holds_an_identity_prints_its_secret() {
        let server = Server::start(vec![vec![
            Step::Request,
            Step::Write(error(1, Code::WrongSecret, "the token is wrong", &[])),
        ]]);
        let brief = Duration::from_secs(20);
        let history = History::new(server.place(), ada(), "general".to_owned(), 0, brief);
        let search = Search::new(server.place(), ada(), "x".to_owned(), 1, brief);
        let rooms = vec!["general".to_owned()];
        let fault = Follow::start(server.place(), ada(), rooms, None, brief, &mut |_| {}).unwrap_err();
        let printed = format!("{history:?} {search:?} {fault:?} {fault} {:?}", ada());
        assert!(printed.contains("Secret(..)") && !printed.contains(TOKEN), "{printed}");
    }
}
