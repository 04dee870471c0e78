//! `vang serve`: makes a server's configuration from flags, and handles signals. The log goes to stderr
//! (`--log` or `VANG_LOG` filters it, as `debug` or `vang_server=debug`), the addresses go to stdout.

mod greeting; // what a person reads right after the start
mod qr_code; // a URL for the camera of a phone

use std::io::{IsTerminal as _, Write};

use clap::{ArgMatches, Args};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use vang_client::address::shown;
use vang_server::{Changer, Config, Limits, Listen, LogFormat, Scope, Server, Stopper, Trust};

use self::greeting::Greeting;
use crate::color;
use crate::notify;
use crate::say::{CommandError, server_error};
use crate::settings::{SettingFlags, Settings};
use crate::signals::{handle_file_size_signal, next, runtime, unless_ignored};
use crate::which::data_folder;

const EXAMPLES: &str = "\
Examples:
  vang serve                                        this machine only, port 65432
  vang serve 127.0.0.1 7000 --data ./chat           another port, another data folder
  vang serve --limit inline=65536                   messages of at most 64 KiB";

/// Run a server
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES, after_help = Limits::help())]
pub(crate) struct ServeArgs {
    /// The same as --listen HOST:PORT
    #[arg(value_name = "HOST:PORT", conflicts_with = "listen")]
    address: Option<Listen>,
    #[command(flatten)]
    settings: SettingFlags,
}

pub(super) fn run(typed: &ArgMatches) -> anyhow::Result<()> {
    let settings = Settings::gather(typed)?;
    let config = configuration(&settings)?;
    let log = start_log(&config)?;
    let (data, names) = (config.data.clone(), config.names.clone());
    let has_own_certificate = config.tls().is_ok_and(|files| files.is_none());
    let admits_guests_from_elsewhere = config.guests == Scope::Everywhere;
    // A JSON log must contain only objects.
    let greets = config.log_format == LogFormat::Text && !notify::is_managed();
    let runtime = runtime()?;
    runtime.block_on(async {
        let stop_signals =
            (signal(SignalKind::terminate())?, unless_ignored(SignalKind::interrupt())?);
        let is_stopped_by_ctrl_c = stop_signals.1.is_some();
        let _file_size = handle_file_size_signal()?;
        let server = Server::open(config).map_err(|error| server_error(&error))?;
        tokio::spawn(stop_on(stop_signals, server.stopper()));
        if let Some(count) = notify::sockets_left() {
            tracing::warn!(
                count,
                "LISTEN_FDS: sockets of the service manager are not used; clients that connect to them get no answer. \
                 Use --listen, and remove the .socket unit"
            );
        }
        if let Some(period) = notify::watchdog() {
            tokio::spawn(async move {
                let mut ticks = tokio::time::interval(period);
                loop {
                    ticks.tick().await;
                    notify::alive();
                }
            });
        }
        let hangup = signal(SignalKind::hangup())?;
        let reloader = Reloader { typed: typed.clone(), settings, log, changer: server.changer() };
        tokio::spawn(reloader.reload_on(hangup));
        let addresses = server.addresses().to_vec();
        let client_addresses = server.client_addresses().to_vec();
        let key = server.is_beyond_this_machine().then(|| server.fingerprint().to_owned());
        let trust = server.trust();
        let first_admin = server.first_admin();
        let ready = || {
            announce(&addresses);
            notify::ready();
            tracing::info!("{}", accounts_by(trust));
            // A log would show it to everybody who reads logs.
            let first_admin = match greets && std::io::stderr().is_terminal() {
                true => first_admin.invite(|code| greeting::invitation_link(&client_addresses, code)),
                false => {
                    first_admin.forget();
                    None
                }
            };
            if greets {
                let greeting = Greeting {
                    addresses: &client_addresses,
                    data: &data,
                    names: &names,
                    fingerprint: key.as_deref(),
                    has_own_certificate,
                    admits_guests_from_elsewhere,
                    is_stopped_by_ctrl_c,
                    first_admin: first_admin.as_ref(),
                };
                greeting.print();
            } else if let Some(key) = &key {
                tracing::info!(key, "other machines must use TLS");
            }
        };
        server.run(ready).await.map_err(|error| server_error(&error))?;
        Ok(())
    })
}

fn configuration(settings: &Settings) -> anyhow::Result<Config> {
    let mut config = settings.config(&format!("vang/{}", env!("CARGO_PKG_VERSION")))?;
    let given = Some(config.data).filter(|data| !data.as_os_str().is_empty());
    config.data = data_folder(given)?;
    Ok(config)
}

/// Reads the settings again at SIGHUP, and gives the server the changed ones.
struct Reloader {
    typed: ArgMatches,
    settings: Settings,
    log: LogFilter,
    changer: Changer,
}

impl Reloader {
    async fn reload_on(mut self, mut hup: Signal) {
        while hup.recv().await.is_some() {
            notify::reloading();
            match self.reload().await {
                Ok(()) => tracing::info!("configuration reloaded"),
                Err(error) => tracing::error!("{error:#}; the old configuration stays in use"),
            }
            notify::ready();
        }
    }

    async fn reload(&mut self) -> anyhow::Result<()> {
        let settings = Settings::gather(&self.typed)?;
        let config = configuration(&settings)?;
        let filter = log_filter(&config.log.0)?;
        self.changer.change(config).await.map_err(|error| server_error(&error))?;
        for (setting, before, now) in settings.differences(&self.settings) {
            let key = &*setting.key;
            match setting.reloads {
                true => tracing::info!(key, before, now, "changed"),
                false => {
                    tracing::warn!(
                        key,
                        before,
                        now,
                        "this setting changes only when the server is restarted"
                    );
                }
            }
        }
        self.log.reload(filter)?;
        self.settings = settings;
        Ok(())
    }
}

async fn stop_on((mut terminate, mut interrupt): (Signal, Option<Signal>), stopper: Stopper) {
    tokio::select! {
        _ = terminate.recv() => {}
        () = next(&mut interrupt) => {}
    }
    notify::stopping();
    stopper.stop();
    // A second signal means: do not wait for slow clients. Acknowledged messages are on the disk already.
    tokio::select! {
        _ = terminate.recv() => {}
        () = next(&mut interrupt) => {}
    }
    std::process::exit(1);
}

type LogFilter =
    tracing_subscriber::reload::Handle<tracing_subscriber::EnvFilter, tracing_subscriber::Registry>;

fn log_filter(wanted: &str) -> Result<tracing_subscriber::EnvFilter, CommandError> {
    tracing_subscriber::EnvFilter::try_new(wanted)
        .map_err(|error| usage(format!("log is '{wanted}': {error}; use a level as info or debug")))
}

fn start_log(config: &Config) -> anyhow::Result<LogFilter> {
    let (filter, handle) = tracing_subscriber::reload::Layer::new(log_filter(&config.log.0)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    match config.log_format {
        LogFormat::Text => registry.with(lines.with_ansi(color::is_wanted(&std::io::stderr()))).init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
    Ok(handle)
}

/// Prints the addresses on stdout, for programs.
fn announce(addresses: &[String]) {
    for address in addresses {
        // A server works also without stdout.
        let _ = writeln!(std::io::stdout(), "listening on {}", typed(address));
    }
    let _ = std::io::stdout().flush();
}

/// The trust setting as a sentence, for the log.
fn accounts_by(trust: Trust) -> &'static str {
    match trust {
        Trust::Folder => "trust: folder: an account's name is enough only on the data folder's own socket",
        Trust::Local => {
            "trust: local: all programs on this machine can use any account, and so can all clients of a proxy or tunnel \
             on it"
        }
    }
}

/// An address as people type it: with the interface's name as its scope.
fn typed(listens: &str) -> String {
    listens.parse().map_or(listens.to_owned(), shown)
}

/// A mistake on the command line: exit code 2.
fn usage(error: impl std::fmt::Display) -> CommandError {
    CommandError::usage(error.to_string())
}
