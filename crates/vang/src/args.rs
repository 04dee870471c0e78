//! Arguments that several commands share, and how they are read.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use vang_client::{ClientError, Deadline, Identity, ServerAddr};
use vang_proto::limits::NAME_BYTES_MAX;
use vang_proto::text;
use vang_proto::vang::{Action, ActionInfo, Code, Reply};

use crate::identity::{self, Source};
use crate::say::{CommandError, note_first_retry};
use crate::which;

/// What an action does, in the words of the protocol's table: the help of the command that asks it.
pub(crate) fn about(action: &str) -> &'static str {
    ActionInfo::named(action).expect("an action of the table").about
}

/// The server of a client command, and its timeout.
#[derive(Args, Debug, Clone)]
pub(crate) struct ServerArgs {
    /// The server: vang://HOST:PORT, HOST:PORT, HOST, [IPV6]:PORT or unix:PATH
    ///
    /// Order: --server, --data, $VANG_SERVER, $VANG_DATA, the default data folder if its server runs,
    /// 127.0.0.1:65432.
    #[arg(long, value_name = "URL", value_parser = ServerAddr::parse)]
    pub(crate) server: Option<ServerAddr>,

    /// Use this data folder's own socket; there an account needs no password, only its name
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// When to give up: 200ms, 5s, 2m, at most 1h
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_timeout)]
    pub(crate) timeout: Duration,
}

impl ServerArgs {
    /// The server to connect to.
    pub(crate) fn server(&self) -> Result<ServerAddr, CommandError> {
        which::server(self.server.as_ref(), self.data.as_deref())
    }
}

/// The server, the speaker and the timeout of a client command.
#[derive(Args, Debug, Clone)]
pub(crate) struct ClientArgs {
    #[command(flatten)]
    pub(crate) place: ServerArgs,

    /// Your name: an account or a guest name [default: who signed in with vang login; else $USER, else anon]
    #[arg(long = "as", value_name = "NAME", env = "VANG_AS")]
    pub(crate) name: Option<String>,

    /// Sign in with the token in this file, which must be yours and have the mode 0600
    ///
    /// Order: the token in $VANG_TOKEN or in this file, what vang login stored for this server, the name alone.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

impl ClientArgs {
    /// The server to connect to.
    pub(crate) fn server(&self) -> Result<ServerAddr, CommandError> {
        self.place.server()
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.place.timeout
    }

    /// The name that was typed, or is in $VANG_AS.
    pub(crate) fn typed_name(&self) -> Option<&str> {
        self.name.as_deref().filter(|name| !name.is_empty())
    }

    /// Who speaks to this server, and from where the proof is.
    pub(crate) fn identity_and_source(
        &self,
        server: &ServerAddr,
    ) -> Result<(Identity, Source), CommandError> {
        identity::find(server, self.typed_name(), &login_name(), self.token_file.as_deref())
    }

    /// Who speaks to this server.
    pub(crate) fn identity(&self, server: &ServerAddr) -> Result<Identity, CommandError> {
        self.identity_and_source(server).map(|(identity, _)| identity)
    }

    /// Sends one request on a new connection, and again where that is safe.
    pub(crate) fn ask(&self, action: &Action) -> Result<Reply, CommandError> {
        let server = self.server()?;
        let identity = self.identity(&server)?;
        let deadline = Deadline::after(self.timeout());
        let mut watch = note_first_retry(self.timeout());
        Ok(vang_client::ask(&server, &identity, action, deadline, &mut watch)?)
    }

    /// As `ask`, for what accounts and the operator can do. The user of the data folder's socket is the operator, unless
    /// the login name is an account or a name was typed.
    pub(crate) fn ask_also_as_operator(&self, action: &Action) -> Result<Reply, CommandError> {
        let server = self.server()?;
        let identity = self.identity(&server)?;
        let deadline = Deadline::after(self.timeout());
        let mut watch = note_first_retry(self.timeout());
        let mut ask = |identity: &Identity| vang_client::ask(&server, identity, action, deadline, &mut watch);
        match ask(&identity) {
            // Refused, so nothing happened: asking again is safe. On another Unix socket a nameless client is a guest, too.
            Err(ClientError::Refused { code, .. })
                if code == Code::AccountNeeded.as_str()
                    && self.typed_name().is_none()
                    && matches!(server, ServerAddr::Unix(_)) =>
            {
                Ok(ask(&Identity::default())?)
            }
            answer => Ok(answer?),
        }
    }
}

/// The data folder of a command that works on it.
#[derive(Args, Debug)]
pub(crate) struct DataArgs {
    /// The data folder [default: $VANG_DATA, else $XDG_DATA_HOME/vang]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

impl DataArgs {
    /// Has the user named it, by the flag or the variable?
    pub(crate) fn is_named(&self) -> bool {
        self.data.is_some() || which::is_folder_set()
    }

    /// The folder: as typed, from the environment, or the default.
    pub(crate) fn folder(self) -> anyhow::Result<PathBuf> {
        which::data_folder(self.data)
    }
}

/// `200ms`, `5s`, `2m`, `1h`, `3d`; a plain number is seconds. More than 0, at most `TIME_MAX`.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let time = text::read_duration(text);
    let time = time.ok_or("not a time; write a whole number and ms, s, m, h or d, as in 200ms, 5s, 2m")?;
    match time {
        time if time.is_zero() => Err("a time must be longer than 0".to_owned()),
        time if time <= TIME_MAX => Ok(time),
        _ => Err("a time is at most 365d; write a shorter one".to_owned()),
    }
}

/// The same, at most 1 h: the time of a request that can send a message with an id.
fn parse_timeout(text: &str) -> Result<Duration, String> {
    match parse_time(text)? {
        time if time <= vang_client::send::SEND_MAX => Ok(time),
        _ => {
            Err("this time is at most 1h: after that a server can forget the id of a message; write a shorter one"
                .to_owned())
        }
    }
}

/// The longest time of an option: 365 days. A tool can run for days; from a longer time on, a typing error is more
/// likely than a plan. It is far from what the kernel's and our own counters can hold.
const TIME_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);

const _: () = assert!(vang_client::send::SEND_MAX.as_millis() == 3_600_000);

/// The name of who has given none.
pub(crate) fn login_name() -> String {
    name_from(std::env::var("USER").ok())
}

/// The login name, changed into a name that a server accepts.
fn name_from(user: Option<String>) -> String {
    let user = user.unwrap_or_default();
    let allowed = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = user.chars().map(allowed).collect();
    let name = name.trim_start_matches(|c: char| !c.is_alphanumeric());
    let end = (0..=name.len().min(NAME_BYTES_MAX)).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    match &name[..end] {
        "" => "anon".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_wrong_ones_refused() {
        let ms = |text: &str| parse_time(text).map(|time| time.as_millis());
        assert_eq!(ms("200ms"), Ok(200));
        assert_eq!(ms("5s"), Ok(5_000));
        assert_eq!(ms("5"), Ok(5_000));
        assert_eq!(ms("2m"), Ok(120_000));
        assert_eq!(ms("2h"), Ok(7_200_000));
        assert_eq!(ms("365d"), Ok(365 * 86_400_000));
        for wrong in ["", "s", "5 s", "-5s", "1.5s", "0", "366d", "8761h", "99999999999999999999999"] {
            assert!(ms(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_the_time_of_a_request_is_at_most_an_hour() {
        assert_eq!(parse_timeout("1h"), Ok(Duration::from_secs(3_600)));
        for long in ["2h", "1d", "3601s"] {
            assert!(parse_time(long).is_ok(), "{long}");
            assert!(parse_timeout(long).unwrap_err().starts_with("this time is at most 1h: "), "{long}");
        }
        assert_eq!(parse_timeout("0"), parse_time("0"));
        assert_eq!(parse_time("400d").unwrap_err(), "a time is at most 365d; write a shorter one");
    }

    #[test]
    fn a_login_name_becomes_a_name_that_a_server_accepts() {
        let name = |user: &str| name_from(Some(user.to_owned()));
        assert_eq!(name("ada"), "ada");
        assert_eq!(name("ada lovelace@x"), "ada-lovelace-x");
        assert_eq!(name("_www"), "www");
        assert_eq!(name("\u{1b}[31m"), "31m");
        assert_eq!(name("@"), "anon");
        assert_eq!(name_from(None), "anon");
        assert_eq!(name(&"\u{1ea3}".repeat(30)), "\u{1ea3}".repeat(21));
    }
}
