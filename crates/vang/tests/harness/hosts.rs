//! Network namespaces in a row, connected by cables: hosts for a test, with routers between them if needed. Root can
//! make them, and all users if user namespaces are allowed. They are removed when dropped.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{SETTINGS, Tail};
use std::time::Instant;

pub struct Hosts {
    holders: Vec<Child>,
}

impl Hosts {
    /// Cable `k`, from 1, connects host `k - 1`, with 10.9.k.1 and fd09:k::1, and host `k`, with 10.9.k.2 and
    /// fd09:k::2. The first and the last host send all packets to their neighbour; the others forward packets.
    pub fn in_a_row(count: usize) -> Hosts {
        let mut hosts = Hosts { holders: Vec::new() };
        for _ in 0..count {
            let holder = hosts.hold();
            hosts.holders.push(holder);
        }
        for host in 0..count {
            hosts.sh(host, "ip link set lo up");
            // Link-local addresses work at once, without a second of duplicate address detection.
            hosts.sh(
                host,
                "cd /proc/sys/net/ipv6/conf/default && echo 0 > accept_dad && echo 0 > dad_transmits",
            );
            // Errors of ICMP's come at once, however many there were; only those of routes keep to five in a row.
            hosts.sh(
                host,
                "echo 0 > /proc/sys/net/ipv4/icmp_ratemask; echo 0 > /proc/sys/net/ipv6/icmp/ratelimit",
            );
            if host > 0 && host + 1 < count {
                hosts.sh(
                    host,
                    "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
                );
            }
        }
        for k in 1..count {
            let peer = hosts.holders[k].id();
            hosts.sh(
                k - 1,
                &format!("ip link add up{k} type veth peer name down{k} && ip link set down{k} netns {peer}"),
            );
            for (host, name, n) in [(k - 1, "up", 1), (k, "down", 2)] {
                hosts.sh(
                    host,
                    &format!(
                        "ip link set {name}{k} up && ip addr add 10.9.{k}.{n}/24 dev {name}{k} && \
                         ip addr add fd09:{k}::{n}/64 dev {name}{k} nodad"
                    ),
                );
            }
        }
        if count > 2 {
            let last = count - 1;
            hosts.sh(0, "ip route add default via 10.9.1.2 && ip route add default via fd09:1::2");
            hosts.sh(
                last,
                &format!("ip route add default via 10.9.{last}.1 && ip route add default via fd09:{last}::1"),
            );
        }
        hosts
    }

    /// A namespace lives as long as a process in it.
    fn hold(&self) -> Child {
        let is_root = rustix::process::geteuid().is_root();
        // The others belong to the first's user namespace, or a cable could not reach them.
        let user = self.holders.first().map(|first| format!("--user=/proc/{}/ns/user", first.id()));
        let words: Vec<&str> = match (&user, is_root) {
            (_, true) => vec!["unshare", "--net"],
            (None, false) => vec!["unshare", "--user", "--map-root-user", "--net"],
            (Some(user), false) => vec!["nsenter", user, "--preserve-credentials", "unshare", "--net"],
        };
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(["sh", "-c", "echo ready; exec sleep 600"]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut ready = [0; 6];
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut ready).expect("a network of its own (root, or user namespaces)");
        child
    }

    /// A command on a host, without this machine's settings for vang and with the default signals.
    pub fn on(&self, host: usize, program: &str) -> Command {
        let pid = self.holders[host].id();
        let mut command = Command::new("nsenter");
        if !rustix::process::geteuid().is_root() {
            command.args([&format!("--user=/proc/{pid}/ns/user"), "--preserve-credentials"]);
        }
        command.arg(format!("--net=/proc/{pid}/ns/net")).args(["env", "--default-signal", program]);
        for key in SETTINGS {
            command.env_remove(key);
        }
        command
    }

    pub fn vang(&self, host: usize, args: &[&str]) -> Command {
        let mut command = self.on(host, env!("CARGO_BIN_EXE_vang"));
        command.args(args);
        command
    }

    /// A name server on host 1 that receives queries and never answers; it prints `asked` for each.
    pub fn silent_name_server(&self) -> Tail {
        let mut command = self.on(1, "python3");
        command.args([
            "-c",
            "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('10.9.1.2', 53))\n\
             print('ready', flush=True)\n\
             while True: s.recv(512); print('asked', flush=True)",
        ]);
        let mut silent = Tail::start(command);
        assert_eq!(silent.line(), "ready");
        silent
    }

    /// A name server on host 1 that knows one IPv4 address for every name; it prints `asked` for each query.
    pub fn name_server(&self, address: &str) -> Tail {
        let mut command = self.on(1, "python3");
        command.args([
            "-c",
            "import socket, sys\n\
             s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('10.9.1.2', 53)); print('ready', flush=True)\n\
             while True:\n  \
             query, peer = s.recvfrom(512); print('asked', flush=True)\n  \
             end = query.index(b'\\0', 12) + 5; is_a = query[end - 4:end - 2] == b'\\0\\1'\n  \
             head = query[:2] + b'\\x85\\x80\\0\\1' + (b'\\0\\1' if is_a else b'\\0\\0') + b'\\0\\0\\0\\0'\n  \
             row = b'\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4' + socket.inet_aton(sys.argv[1])\n  \
             s.sendto(head + query[12:end] + (row if is_a else b''), peer)",
            address,
        ]);
        let mut server = Tail::start(command);
        assert_eq!(server.line(), "ready");
        server
    }

    /// The binary under test on host 0, with host 1 as name server; the system's resolver alone would wait many seconds.
    /// `dir` holds the resolver's configuration.
    pub fn vang_asking(&self, dir: &Path, args: &str) -> Command {
        let conf = dir.join("resolv.conf");
        std::fs::write(&conf, "nameserver 10.9.1.2\noptions timeout:30 attempts:5\n").unwrap();
        let binary = env!("CARGO_BIN_EXE_vang");
        let script = format!("mount --bind {} /etc/resolv.conf && exec {binary} {args}", conf.display());
        let mut command = self.on(0, "unshare");
        command.args(["--mount", "sh", "-c", &script]);
        command
    }

    /// Runs a shell command that must succeed on a host; returns its stdout. `/proc/sys/net` is the host's.
    pub fn sh(&self, host: usize, script: &str) -> String {
        let output = self.on(host, "sh").args(["-c", script]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A host's link-local address on a cable, without its scope. The kernel assigns it a moment after the link is up.
    pub fn link_local(&self, host: usize, device: &str) -> String {
        let until = Instant::now() + super::PATIENCE;
        loop {
            let shown = self.sh(host, &format!("ip -6 -o addr show dev {device} scope link"));
            let address = shown.split_whitespace().find(|word| word.starts_with("fe80::"));
            if let Some(address) = address.filter(|_| !shown.contains("tentative")) {
                return address.split('/').next().unwrap_or(address).to_owned();
            }
            assert!(Instant::now() < until, "no address of its own on {device}: {shown}");
        }
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for holder in &mut self.holders {
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}
