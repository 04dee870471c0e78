//! `vang serve`: turns flags into a server's configuration, signals into its end. The log goes to stderr
//! (`--log` or `VANG_LOG` filters it, as `debug` or `vang_server=debug`), where it listens to stdout.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Args, ValueEnum};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use vang_client::address::{BadServerAddr, loose_ipv4, shown};
use vang_client::trouble::{At, explain_at, plain};
use vang_client::{Doing, explain};
use vang_journal::{DataFolder, FolderError};
use vang_nettools::is_ignored;
use vang_server::{
    Change, Changer, Config, Limits, ListenAddr, ListenError, Scope, ServeError, Server, StartError, Stopper,
    TlsFiles, Trust,
};

use crate::config::Settings;
use crate::notify;
use crate::say::Failure;
use crate::which::data_folder;

const EXAMPLES: &str = "\
Examples:
  vang serve                                        this machine only, port 65432
  vang serve --listen 127.0.0.1:7000 --data ./chat  another port, another data folder
  vang serve --limit inline=65536                   messages of at most 64 KiB";

/// Run a server
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES, after_help = Limits::help())]
pub(crate) struct ServeArgs {
    /// Where to listen: HOST:PORT, [IPV6]:PORT or unix:PATH; several times for several places
    ///
    /// An empty host means every interface, port 0 any free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:65432")]
    pub(crate) listen: Vec<ListenAddr>,

    /// The data folder [default: $VANG_DATA, else $XDG_DATA_HOME/vang]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// A file with settings, in TOML; its keys are the names of these flags, and [limits]
    ///
    /// Flags go over the environment (VANG_LISTEN, VANG_LIMIT_IDLE), that over the file. HUP reads it again.
    #[arg(long, value_name = "FILE", env = "VANG_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// Connections that the system lets wait until they are accepted
    #[arg(long, value_name = "N", default_value_t = 4_096)]
    pub(crate) backlog: u32,

    /// Sets a limit; several times for several limits
    #[arg(long = "limit", value_name = "NAME=VALUE")]
    pub(crate) limits: Vec<String>,

    /// What is logged: error, warn, info, debug, trace, or as vang_server=debug
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log: String,

    /// How the log is written to stderr
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,

    /// The certificate, in PEM, with those that signed it [default: the server's own, made at its first start]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The certificate's private key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,

    /// A name by which browsers reach this server, beside addresses and localhost; several times for several
    #[arg(long = "name", value_name = "NAME")]
    pub(crate) names: Vec<String>,

    /// From where people without an account are admitted
    #[arg(long, value_name = "FROM", default_value = "local")]
    pub(crate) guests: ScopeArg,

    /// Where an account's name alone is enough to speak as this account, until accounts have secrets
    ///
    /// `local` is refused together with a place to listen that other machines reach.
    #[arg(long, value_name = "WHERE", default_value = "folder")]
    pub(crate) trust: TrustWhere,

    /// From where lines may be typed, as with nc
    #[arg(long, value_name = "FROM", default_value = "local")]
    pub(crate) lines: ScopeArg,

    /// From where /metrics may be read
    #[arg(long, value_name = "FROM", default_value = "local")]
    pub(crate) metrics: ScopeArg,

    /// Accept this machine's clock although it jumped ahead of the journal's
    #[arg(long)]
    pub(crate) confirm_time: bool,
}

/// See `--guests`, `--lines`, `--metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScopeArg {
    /// This machine: loopback and Unix sockets
    Local,
    /// Everywhere, by TLS
    Everywhere,
}

impl From<ScopeArg> for Scope {
    fn from(given: ScopeArg) -> Scope {
        match given {
            ScopeArg::Local => Scope::Local,
            ScopeArg::Everywhere => Scope::Everywhere,
        }
    }
}

/// See `--trust`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TrustWhere {
    /// On the data folder's own socket: `vang --data DIR`
    Folder,
    /// On this machine: every program on it, and whatever a proxy or tunnel on it passes on
    Local,
}

impl From<TrustWhere> for Trust {
    fn from(given: TrustWhere) -> Trust {
        match given {
            TrustWhere::Folder => Trust::Folder,
            TrustWhere::Local => Trust::Local,
        }
    }
}

/// See `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One object a line
    Json,
}

pub(crate) fn run(typed: &ArgMatches) -> anyhow::Result<()> {
    let settings = Settings::gather(typed)?;
    let args = settings.args()?;
    let log = start_log(&args)?;
    let config = configuration(&args)?;
    let data = config.data.clone();
    // A log for programs is nothing but objects: whoever reads it needs no greeting.
    let greets = args.log_format == LogFormat::Text;
    let runtime = runtime()?;
    runtime.block_on(async {
        let stop_signals = (signal(SignalKind::terminate())?, interrupts()?);
        let is_stopped_by_ctrl_c = stop_signals.1.is_some();
        // A file size limit is an error to be told to senders, not the end of the process.
        let _file_size = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
        let server = Server::open(config).map_err(|error| explained(&error))?;
        tokio::spawn(stop_on(stop_signals, server.stopper()));
        if let Some(count) = notify::sockets_left() {
            tracing::warn!(
                count,
                "LISTEN_FDS: sockets of the service manager are not taken, and whoever connects to them waits for ever; \
                 use --listen and no .socket unit"
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
        let again = signal(SignalKind::hangup())?;
        let reading = Reading { typed: typed.clone(), settings, log, changer: server.changer() };
        tokio::spawn(reading.again_on(again));
        let addresses = server.addresses().to_vec();
        let key = server.is_beyond_this_machine().then(|| server.fingerprint().to_owned());
        let trust = server.trust();
        let ready = || {
            announce(&addresses);
            notify::ready();
            tracing::info!("{}", accounts_by(trust));
            if greets {
                greet(&addresses, &data, key.as_deref(), is_stopped_by_ctrl_c);
            }
        };
        server.run(ready).await.map_err(|error| explained(&error))?;
        Ok(())
    })
}

fn configuration(args: &ServeArgs) -> anyhow::Result<Config> {
    let mut limits = Limits::default();
    for given in &args.limits {
        limits.set(given).map_err(usage)?;
    }
    for addr in &args.listen {
        if let ListenAddr::Tcp { host, .. } = addr
            && let Some(means) = loose_ipv4(host)
        {
            return Err(usage(BadServerAddr::LooseIpv4 { host: host.clone(), means }).into());
        }
    }
    let tls = args.tls_cert.clone().zip(args.tls_key.clone());
    Ok(Config {
        listen: args.listen.clone(),
        data: data_folder(args.data.clone())?,
        backlog: args.backlog,
        limits,
        confirm_time: args.confirm_time,
        tls: tls.map(|(certificate, key)| TlsFiles { certificate, key }),
        names: args.names.clone(),
        guests: args.guests.into(),
        trust: args.trust.into(),
        metrics: args.metrics.into(),
        lines: args.lines.into(),
        name: format!("vang/{}", env!("CARGO_PKG_VERSION")),
    })
}

/// What cannot change while the server runs.
const FIXED: [&str; 3] = ["data", "name", "log-format"];

/// Reads the settings again when it is told to, and hands on what has changed.
struct Reading {
    typed: ArgMatches,
    settings: Settings,
    log: LogFilter,
    changer: Changer,
}

impl Reading {
    async fn again_on(mut self, mut hup: Signal) {
        while hup.recv().await.is_some() {
            notify::reloading();
            match self.again().await {
                Ok(()) => tracing::info!("configuration read again"),
                Err(error) => tracing::error!("{error:#}; the configuration stays as it was"),
            }
            notify::ready();
        }
    }

    async fn again(&mut self) -> anyhow::Result<()> {
        let settings = Settings::gather(&self.typed)?;
        let args = settings.args()?;
        let filter = log_filter(&args.log)?;
        let Config { listen, backlog, limits, tls, guests, trust, metrics, lines, .. } =
            configuration(&args)?;
        let change = Change { listen, backlog, limits, tls, guests, trust, metrics, lines };
        self.changer.change(change).await.map_err(|error| explained(&error))?;
        for (key, before, now) in settings.differences(&self.settings) {
            match FIXED.contains(&key) {
                true => tracing::warn!(key, before, now, "this changes when the server is started again"),
                false => tracing::info!(key, before, now, "changed"),
            }
        }
        self.log.reload(filter)?;
        self.settings = settings;
        Ok(())
    }
}

/// A runtime of one thread: everything that decides runs on it.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Ctrl-C, unless who started us ignores it: then it is meant for others (see `is_ignored`).
pub(crate) fn interrupts() -> std::io::Result<Option<Signal>> {
    let interrupt = SignalKind::interrupt();
    if is_ignored(interrupt.as_raw_value()) { Ok(None) } else { signal(interrupt).map(Some) }
}

/// The next of these signals; one that is left ignored never comes.
pub(crate) async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

async fn stop_on((mut terminate, mut interrupt): (Signal, Option<Signal>), stopper: Stopper) {
    tokio::select! {
        _ = terminate.recv() => {}
        () = next(&mut interrupt) => {}
    }
    notify::stopping();
    stopper.stop();
    // Who asks twice does not want to wait for slow clients. Nothing that was acknowledged is lost.
    tokio::select! {
        _ = terminate.recv() => {}
        () = next(&mut interrupt) => {}
    }
    std::process::exit(1);
}

type LogFilter =
    tracing_subscriber::reload::Handle<tracing_subscriber::EnvFilter, tracing_subscriber::Registry>;

fn log_filter(wanted: &str) -> Result<tracing_subscriber::EnvFilter, Failure> {
    tracing_subscriber::EnvFilter::try_new(wanted)
        .map_err(|error| usage(format!("log is '{wanted}': {error}; give a level as info or debug")))
}

fn start_log(args: &ServeArgs) -> anyhow::Result<LogFilter> {
    let (filter, handle) = tracing_subscriber::reload::Layer::new(log_filter(&args.log)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    match args.log_format {
        LogFormat::Text => registry.with(lines.with_ansi(std::io::stderr().is_terminal())).init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
    Ok(handle)
}

/// Tells programs where it listens, on stdout.
fn announce(addresses: &[String]) {
    for address in addresses {
        // A closed stdout is no reason not to serve.
        let _ = writeln!(std::io::stdout(), "listening on {}", typed(address));
    }
    let _ = std::io::stdout().flush();
}

/// Where an account's name is enough, for the log.
fn accounts_by(trust: Trust) -> &'static str {
    match trust {
        Trust::Folder => {
            "trust: folder: an account's name is enough on the data folder's own socket, and nowhere else"
        }
        Trust::Local => {
            "trust: local: every program on this machine may speak as any account, and so may whoever a proxy or a tunnel \
             on it lets in"
        }
    }
}

/// Tells people how to talk to it, on stderr.
fn greet(addresses: &[String], data: &Path, key: Option<&str>, is_stopped_by_ctrl_c: bool) {
    let Some(first) = addresses.first() else { return };
    let typed = typed(first);
    // The default folder's server is found without being named.
    let server = match DataFolder::default_path() {
        Ok(usual) if usual == data => String::new(),
        Ok(_) | Err(_) => format!(" --data {}", quoted(data)),
    };
    let page = page(first);
    let browser = if page.is_some() { "in a browser or " } else { "" };
    let page = page.map_or(String::new(), |url| format!("    {url}\n"));
    let stop = match is_stopped_by_ctrl_c {
        true => "Ctrl-C stops it.".to_owned(),
        false => format!("`kill {}` stops it.", std::process::id()),
    };
    let _ = write!(
        std::io::stderr(),
        "\n  Talk to it {browser}from another terminal (messages are kept in {}):\n\n{page}    \
         vang tail general --since 0{server}\n    \
         vang send general \"hello\"{server}\n    \
         vang request {typed} search morpheus\n\n  {stop}\n\n",
        data.display(),
    );
    if let Some(key) = key {
        let _ = writeln!(std::io::stderr(), "  From other machines by TLS; its key is {key}\n");
    }
}

/// The page's URL, where a browser can have one: none takes the scope that a link-local address needs, and none knows
/// Unix sockets.
fn page(listens: &str) -> Option<String> {
    let addr: SocketAddr = listens.parse().ok()?;
    match addr {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => None,
        addr if addr.ip().is_unspecified() => Some(format!("http://localhost:{}/", addr.port())),
        addr => Some(format!("http://{addr}/")),
    }
}

/// A place as people type it: the scope of an address by its interface's name.
fn typed(listens: &str) -> String {
    listens.parse().map_or(listens.to_owned(), shown)
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
    if text.bytes().all(is_plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// A mistake in what was typed: exit code 2.
fn usage(error: impl std::fmt::Display) -> Failure {
    Failure::usage(error.to_string())
}

/// An error of the server, with its cause and advice where it is one that people meet on sockets.
pub(crate) fn explained(error: &ServeError) -> Failure {
    match error {
        ServeError::Listen(ListenError::Io { addr, source }) => {
            let trouble = match (addr.strip_prefix("unix:"), addr.parse()) {
                (Some(_), _) => explain_at(source, Doing::Bind, At::Unix),
                (None, Ok(address)) => explain_at(source, Doing::Bind, At::Net(address)),
                (None, Err(_)) => explain(source, Doing::Bind),
            };
            Failure::new(format!("cannot listen on {addr}: {trouble}")).advise(trouble.advice)
        }
        ServeError::Listen(ListenError::Resolve { addr, source }) => {
            let trouble = explain(source, Doing::Resolve);
            Failure::new(format!("cannot listen on {addr}: {trouble}")).advise(trouble.advice)
        }
        ServeError::Listen(ListenError::Address { .. }) => Failure::usage(error.to_string()),
        ServeError::TrustBeyond { .. } => Failure::usage(error.to_string())
            .advise("leave --trust away, or listen on this machine only, as with --listen 127.0.0.1:65432"),
        ServeError::Start(StartError::Folder(held @ FolderError::Held { .. })) => {
            Failure::new(held.to_string()).advise("stop it, or choose another data folder with --data")
        }
        ServeError::Start(StartError::Folder(FolderError::Io { what, path, source })) => {
            Failure::new(format!("cannot {what} {}: {}", path.display(), plain(source)))
        }
        ServeError::Tls(_) | ServeError::Start(_) | ServeError::Io { .. } | ServeError::ThreadEnded(_) => {
            Failure::new(error.to_string())
        }
    }
}
