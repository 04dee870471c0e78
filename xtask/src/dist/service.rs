//! Installs the package in a root of its own and runs its service under a real systemd: start, settings read again, a server
//! that hangs and is started again by the watchdog, and no message lost.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use super::own_root;

/// Fails with the log of the trial.
pub(crate) fn try_out(folder: &Path, package: &str) -> Result<()> {
    let results = tempfile::tempdir()?;
    let script = format!(
        "package={}\nresults={}\n{OUTSIDE}",
        own_root::quoted(package),
        own_root::quoted(&results.path().display().to_string())
    );
    // systemd ends the trial by switching its machine off, which is no success for the program that waits.
    let ended = own_root::run(&script, folder);
    let log = fs::read_to_string(results.path().join("log")).unwrap_or_default();
    if !results.path().join("passed").exists() {
        let ended = ended.err().map(|error| format!("{error:#}\n")).unwrap_or_default();
        bail!("the service does not work under systemd\n{ended}{log}");
    }
    Ok(())
}

/// With `$root` as its root.
const OUTSIDE: &str = r#"cp "$package" "$root/tmp/vang.deb"
chroot "$root" dpkg --install /tmp/vang.deb
mkdir "$root/results"
mount --bind "$results" "$root/results"
mount -t sysfs -o ro sysfs "$root/sys"
if [ -d /sys/fs/cgroup/systemd ]; then
    mount -t tmpfs none "$root/sys/fs/cgroup"
    mkdir "$root/sys/fs/cgroup/systemd"
    mount -t cgroup -o none,name=systemd,xattr cgroup "$root/sys/fs/cgroup/systemd"
else
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
fi
mkdir "$root/dev/pts"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
# Nothing of this machine's services, and a watchdog that does not let a test wait for half a minute.
rm -rf "$root"/etc/systemd/system/*.wants
mkdir "$root/etc/systemd/system/vang.service.d"
printf '[Service]\nWatchdogSec=4s\n' > "$root/etc/systemd/system/vang.service.d/trial.conf"
cat > "$root/etc/systemd/system/trial.target" <<'END'
[Unit]
Wants=vang.service trial.service
END
cat > "$root/etc/systemd/system/trial.service" <<'END'
[Unit]
DefaultDependencies=no
After=vang.service
[Service]
Type=oneshot
ExecStart=/bin/sh /trial.sh
StandardOutput=file:/results/log
StandardError=file:/results/log
END
cat > "$root/trial.sh" <<'END'
set -eux
trap 'journalctl --unit vang --no-pager --lines 50; systemctl poweroff --force --force' EXIT
as_vang() { setpriv --reuid vang --regid vang --clear-groups "$@"; }
state() { systemctl show vang --property "$1" --value; }
systemctl is-active vang
as_vang vang send general 'it runs' --as ada --data /var/lib/vang
systemctl reload vang
systemctl is-active vang
kill -STOP "$(state MainPID)"
while [ "$(state NRestarts)" = 0 ]; do sleep 0.2; done
until systemctl is-active --quiet vang; do sleep 0.2; done
as_vang vang tail general --since 0 --no-follow --as ada --data /var/lib/vang | grep 'ada: it runs'
systemctl stop vang
[ "$(state Result)" = success ]
touch /results/passed
END
exec chroot "$root" env --ignore-environment container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=trial.target --show-status=no
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_one_that_a_shell_understands() {
        let inner = OUTSIDE.split("trial.sh\" <<'END'\n").nth(1).unwrap().split("\nEND").next().unwrap();
        for script in [OUTSIDE, inner] {
            let status = std::process::Command::new("sh").args(["-n", "-c", script]).status().unwrap();
            assert!(status.success(), "{script}");
        }
    }
}
