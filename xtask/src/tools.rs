//! Step `tools`: what the tests need on this machine.
//!
//! A test without its tool would have to be left out, and what is left out is believed to hold. So
//! what is missing is installed with apt-get where we may, and otherwise named in a line that says
//! what, why, and how to get it. A tool counts when it starts, not when a file of its name exists.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::run;
use crate::steps::Outcome;

struct Tool {
    name: &'static str,
    starts: (&'static str, &'static [&'static str]),
    why: &'static str,
    from: Source,
}

enum Source {
    /// A component of the Rust toolchain. Left to its owner: a toolchain is shared between projects.
    Rustup(&'static str),
    /// Packages of the system, named as Debian does.
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
        why: "installs what drives Chromium in the page's test",
        from: Source::Packages(&["npm"]),
    },
    Tool {
        name: "chromium",
        starts: ("chromium", VERSION),
        why: "the page is tried in it",
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
        why: "people talk to the server with it, and so do tests",
        from: Source::Packages(&["netcat-openbsd"]),
    },
    Tool {
        name: "unshare",
        starts: ("unshare", VERSION),
        why: "gives a test a small disk or a network of its own",
        from: Source::Packages(&["util-linux"]),
    },
    Tool {
        name: "ip",
        starts: ("ip", &["-Version"]),
        why: "lays a cable between two networks of a test",
        from: Source::Packages(&["iproute2"]),
    },
    Tool {
        name: "nft",
        starts: ("nft", VERSION),
        why: "a firewall in a test's network refuses and swallows what it is told to",
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
        why: "another one, which passes on bytes",
        from: Source::Packages(&["haproxy"]),
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
        why: "Wireshark's own view of a recording, and our dissector in it, are compared with `vang net`",
        from: Source::Packages(&["tshark"]),
    },
    Tool {
        name: "git",
        starts: ("git", VERSION),
        why: "tests look at the files of the repository",
        from: Source::Packages(&["git"]),
    },
];

/// Says which tools there are, installs what it may, and fails naming what is still missing.
pub(crate) fn check() -> Result<Outcome> {
    let missing: Vec<&Tool> = TOOLS.iter().filter(|tool| !report(tool)).collect();
    let wanted: Vec<&str> = missing.iter().flat_map(|tool| packages(tool)).copied().collect();
    let still_missing: Vec<&Tool> = match apt_get() {
        Some(apt_get) if !wanted.is_empty() => {
            install(&apt_get, &wanted);
            missing.into_iter().filter(|tool| !report(tool)).collect()
        }
        _ => missing,
    };
    if still_missing.is_empty() {
        playwright()?;
        return Ok(Outcome::Passed);
    }
    let lines: Vec<String> = still_missing.into_iter().map(lack).collect();
    bail!("tools are missing\n  {}", lines.join("\n  "))
}

/// What drives Chromium, as the lock file beside the page's test has it, into the folder where that test looks.
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

/// What is missing, why it is needed, how to get it.
fn lack(tool: &Tool) -> String {
    let how = match tool.from {
        Source::Rustup(component) => format!("`rustup component add {component}`"),
        Source::Packages(packages) => {
            format!("as root `apt-get install {}`, or your system's equivalent", packages.join(" "))
        }
    };
    format!("{} is missing ({}): {how}", tool.name, tool.why)
}

/// The words in front of apt-get's own, if this system has it and lets us use it without asking.
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

/// Tries; the next look at the tools, not apt-get's word, tells whether it worked.
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
