//! Step `tools`: what the tests need on this machine.
//!
//! A test is never skipped for a missing tool, because a skipped test looks like a passed one. So missing tools are
//! installed with apt-get if that is allowed, and otherwise named with the reason and the command that installs
//! them. A tool counts if it starts, not if a file of its name exists.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::outcome::Outcome;
use crate::run;

struct Tool {
    name: &'static str,
    starts: (&'static str, &'static [&'static str]),
    why: &'static str,
    from: Source,
}

enum Source {
    /// A component of the Rust toolchain. Not installed here: other projects share the toolchain.
    Rustup(&'static str),
    /// Debian packages.
    Packages(&'static [&'static str]),
}

const VERSION: &[&str] = &["--version"];

const TOOLS: &[Tool] = &[
    Tool {
        name: "cargo",
        starts: ("cargo", VERSION),
        why: "builds everything",
        from: Source::Rustup("cargo"),
    },
    Tool {
        name: "rustfmt",
        starts: ("cargo", &["fmt", "--version"]),
        why: "step fmt",
        from: Source::Rustup("rustfmt"),
    },
    Tool {
        name: "clippy",
        starts: ("cargo", &["clippy", "--version"]),
        why: "step clippy",
        from: Source::Rustup("clippy"),
    },
    Tool {
        name: "gcc",
        starts: ("gcc", VERSION),
        why: "compiles the SQLite that is built in",
        from: Source::Packages(&["gcc", "libc6-dev"]),
    },
    Tool {
        name: "python3",
        starts: ("python3", VERSION),
        why: "example clients in Python talk to the server in tests",
        from: Source::Packages(&["python3"]),
    },
    Tool {
        name: "node",
        starts: ("node", VERSION),
        why: "example clients in JavaScript talk to the server in tests; the page's modules are tested in it",
        from: Source::Packages(&["nodejs"]),
    },
    Tool {
        name: "npm",
        starts: ("npm", VERSION),
        why: "installs the driver of Chromium for the page's test",
        from: Source::Packages(&["npm"]),
    },
    Tool {
        name: "chromium",
        starts: ("chromium", VERSION),
        why: "runs the page in a test",
        from: Source::Packages(&["chromium"]),
    },
    Tool {
        name: "prometheus_client",
        starts: (
            "/usr/bin/python3",
            &["-c", "from prometheus_client.openmetrics import parser; print('parses OpenMetrics')"],
        ),
        why: "Prometheus's own parser reads /metrics in a test",
        from: Source::Packages(&["python3", "python3-prometheus-client"]),
    },
    Tool {
        name: "nc",
        starts: ("nc", &["-h"]),
        why: "tests talk to the server with it, as people do",
        from: Source::Packages(&["netcat-openbsd"]),
    },
    Tool {
        name: "socat",
        starts: ("socat", &["-V"]),
        why: "`vang net talk` is compared with it",
        from: Source::Packages(&["socat"]),
    },
    Tool {
        name: "openssl",
        starts: ("openssl", &["version"]),
        why: "`vang net talk` talks to it in TLS",
        from: Source::Packages(&["openssl"]),
    },
    Tool {
        name: "unshare",
        starts: ("unshare", VERSION),
        why: "gives a test its own small disk or network",
        from: Source::Packages(&["util-linux"]),
    },
    Tool {
        name: "ip",
        starts: ("ip", &["-Version"]),
        why: "connects two networks of a test",
        from: Source::Packages(&["iproute2"]),
    },
    Tool {
        name: "nft",
        starts: ("nft", VERSION),
        why: "is the firewall in a test's network",
        from: Source::Packages(&["nftables"]),
    },
    Tool {
        name: "nginx",
        starts: ("/usr/sbin/nginx", &["-v"]),
        why: "a proxy in front of the server, in a test",
        from: Source::Packages(&["nginx-light"]),
    },
    Tool {
        name: "haproxy",
        starts: ("/usr/sbin/haproxy", &["-v"]),
        why: "another proxy, in TCP mode and in HTTP mode, in a test",
        from: Source::Packages(&["haproxy"]),
    },
    Tool {
        name: "caddy",
        starts: ("/usr/bin/caddy", &["version"]),
        why: "a third proxy, in a test",
        from: Source::Packages(&["caddy"]),
    },
    Tool {
        name: "ping",
        starts: ("ping", &["-V"]),
        why: "vang net ping is compared with it",
        from: Source::Packages(&["iputils-ping"]),
    },
    Tool {
        name: "ss",
        starts: ("ss", &["-Version"]),
        why: "`vang net sockets` is compared with it",
        from: Source::Packages(&["iproute2"]),
    },
    Tool {
        name: "lsof",
        starts: ("lsof", &["-v"]),
        why: "`vang net sockets` is compared with it",
        from: Source::Packages(&["lsof"]),
    },
    Tool {
        name: "tshark",
        starts: ("tshark", VERSION),
        why: "`vang net` and our dissector are compared with it",
        from: Source::Packages(&["tshark"]),
    },
    Tool {
        name: "tcpdump",
        starts: ("tcpdump", VERSION),
        why: "`vang net capture` is compared with it",
        from: Source::Packages(&["tcpdump"]),
    },
    Tool {
        name: "systemd-analyze",
        starts: ("systemd-analyze", VERSION),
        why: "checks the unit of the service",
        from: Source::Packages(&["systemd"]),
    },
    Tool {
        name: "logrotate",
        starts: ("/usr/sbin/logrotate", VERSION),
        why: "rotates a server's log as the operating guide says",
        from: Source::Packages(&["logrotate"]),
    },
    Tool {
        name: "dpkg-deb",
        starts: ("dpkg-deb", VERSION),
        why: "reads the Debian package that we write",
        from: Source::Packages(&["dpkg"]),
    },
    Tool {
        name: "git",
        starts: ("git", VERSION),
        why: "tests look at the files of the repository",
        from: Source::Packages(&["git"]),
    },
];

/// What only `dist` needs, besides.
const TOOLS_FOR_DIST: &[Tool] = &[
    Tool {
        name: "readelf",
        starts: ("readelf", VERSION),
        why: "shows which glibc the program needs",
        from: Source::Packages(&["binutils"]),
    },
    Tool {
        name: "lintian",
        starts: ("lintian", VERSION),
        why: "checks the Debian package",
        from: Source::Packages(&["lintian"]),
    },
];

/// Lists the tools of the tests, installs missing ones if it can, and fails with the names of those still missing.
pub(crate) fn check() -> Result<Outcome> {
    provide(TOOLS)?;
    playwright()?;
    Ok(Outcome::Passed)
}

/// The same for the tools of `dist`.
pub(crate) fn check_for_dist() -> Result<()> {
    provide(TOOLS_FOR_DIST)
}

fn provide(tools: &'static [Tool]) -> Result<()> {
    let missing: Vec<&Tool> = tools.iter().filter(|tool| !report(tool)).collect();
    let wanted: Vec<&str> = missing.iter().flat_map(|tool| packages(tool)).copied().collect();
    let still_missing: Vec<&Tool> = match apt_get() {
        Some(apt_get) if !wanted.is_empty() => {
            install(&apt_get, &wanted);
            missing.into_iter().filter(|tool| !report(tool)).collect()
        }
        _ => missing,
    };
    if still_missing.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = still_missing.into_iter().map(lack).collect();
    bail!("tools are missing\n  {}", lines.join("\n  "))
}

/// Installs the driver of Chromium, by the lock file of the page's test, into the folder where that test looks.
fn playwright() -> Result<()> {
    let from = "crates/vang/tests/browser";
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    let to = format!("{target}/tmp/page");
    let lock = fs::read(format!("{from}/package-lock.json"))?;
    let is_there = fs::read(format!("{to}/node_modules/installed.json")).is_ok_and(|has| has == lock);
    if !is_there {
        fs::create_dir_all(&to)?;
        for name in ["package.json", "package-lock.json"] {
            fs::copy(format!("{from}/{name}"), format!("{to}/{name}"))?;
        }
        let mut npm = run::command("npm");
        npm.args(["ci", "--prefix", &to, "--ignore-scripts", "--no-audit", "--no-fund"]);
        run::through(&mut npm).context("cannot install what drives Chromium in the page's test")?;
        fs::write(format!("{to}/node_modules/installed.json"), lock)?;
    }
    eprintln!("   playwright-core: as {from}/package-lock.json has it");
    Ok(())
}

/// Whether the tool starts; prints its version if it does.
fn report(tool: &Tool) -> bool {
    let (program, args) = tool.starts;
    let version = run::first_line(program, args);
    if let Some(version) = &version {
        eprintln!("   {}: {version}", tool.name);
    }
    version.is_some()
}

fn packages(tool: &Tool) -> &'static [&'static str] {
    match tool.from {
        Source::Rustup(_) => &[],
        Source::Packages(packages) => packages,
    }
}

/// A missing tool, why it is needed, and how to install it.
fn lack(tool: &Tool) -> String {
    let how = match tool.from {
        Source::Rustup(component) => format!("`rustup component add {component}`"),
        Source::Packages(packages) => {
            format!("as root `apt-get install {}`, or your system's equivalent", packages.join(" "))
        }
    };
    format!("{} is missing ({}): {how}", tool.name, tool.why)
}

/// The command for apt-get (with sudo if needed), if it can run without a password.
fn apt_get() -> Option<Vec<&'static str>> {
    run::first_line("apt-get", VERSION)?;
    let unasked = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"];
    if run::first_line("id", &["-u"]).as_deref() == Some("0") {
        Some(unasked.to_vec())
    } else {
        run::first_line("sudo", &["-n", "true"])?;
        Some([&["sudo", "-n"], unasked.as_slice()].concat())
    }
}

/// Tries to install; errors only get printed, because the tools are checked again afterwards.
fn install(apt_get: &[&str], packages: &[&str]) {
    let update = [apt_get, &["update"]].concat();
    let install = [apt_get, &["install", "--yes", "--no-install-recommends"], packages].concat();
    for words in [update, install] {
        eprintln!("   {}", words.join(" "));
        if let Err(err) = run::through(run::command(words[0]).args(&words[1..])) {
            eprintln!("   {err:#}");
        }
    }
}
