//! One request on a connection of its own, sent again only where the table of actions allows it: a second `create` would be
//! refused as taken, although the first one did what was asked.

use vang_proto::vang::{Action, Reply};

use crate::address::ServerAddr;
use crate::connection::Connection;
use crate::retry::{Deadline, retry_until};
use crate::sign_in::{Identity, sign_in};
use crate::trouble::ClientError;

/// Sends a request. One that can be repeated (`Action::is_repeatable`) is sent again until there is an answer, an error that is
/// not retryable, or the deadline; `watch` sees each error before a retry. If the server cannot be reached at first, that is an
/// error at once: most often no server runs there.
pub fn ask(
    server: &ServerAddr,
    identity: &Identity,
    action: &Action,
    deadline: Deadline,
    watch: &mut dyn FnMut(&ClientError),
) -> Result<Reply, ClientError> {
    let mut opened = Some(Connection::open(server, deadline)?);
    let mut attempt = || {
        let mut connection = match opened.take() {
            Some(connection) => connection,
            None => Connection::open(server, deadline)?,
        };
        sign_in(&mut connection, identity, deadline)?;
        connection.ask(identity.name.as_deref(), action, deadline)
    };
    if action.is_repeatable() { retry_until(deadline, watch, attempt) } else { attempt() }
}

#[cfg(test)]
mod tests {
    use vang_proto::vang::{Code, NoKeys};

    use super::*;
    use crate::scripted::{Server, Step, error, ok, soon};

    /// The number of retries, and the result, with a server that answers the second attempt.
    fn asked(action: &Action, first: Vec<Step>) -> (usize, Result<String, ClientError>) {
        let second = vec![Step::Request, Step::Write(ok(1, &NoKeys {}, "done"))];
        let server = Server::start(vec![first, second]);
        let mut retries = 0;
        let reply = ask(&server.place(), &Identity::named("ada"), action, soon(), &mut |_| retries += 1);
        (retries, reply.map(|reply| reply.text))
    }

    #[test]
    fn only_an_action_that_can_be_repeated_is_sent_again() {
        let leave = Action::Leave { room: "general".to_owned() };
        let lost = vec![Step::Request];
        let busy = vec![Step::Request, Step::Write(error(1, Code::Busy, "later", &[]))];
        for first in [lost, busy] {
            let (retries, reply) = asked(&Action::rooms_after(None), first.clone());
            assert_eq!((retries, reply.unwrap().as_str()), (1, "done"));
            let (retries, reply) = asked(&leave, first);
            assert!(retries == 0 && reply.is_err(), "{reply:?}");
        }
    }

    #[test]
    fn a_server_that_cannot_be_reached_is_an_error_at_once() {
        let place = Server::closed_port();
        let reply =
            ask(&place, &Identity::default(), &Action::Ping, soon(), &mut |fault| panic!("retried: {fault}"));
        assert!(matches!(reply, Err(ClientError::Unreachable { .. })), "{reply:?}");
    }
}
