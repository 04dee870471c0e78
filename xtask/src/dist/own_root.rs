//! A root of its own for a trial: this machine's system under an overlay that takes every change, in namespaces for mounts,
//! processes, network and names. Nothing of this machine changes.

use std::path::Path;

use anyhow::{Result, bail};

use crate::run;

/// How long a trial may take before it counts as hanging, seconds.
const PATIENCE: &str = "300";

/// True where a trial can have other users and a service manager.
pub(crate) fn is_administrator() -> bool {
    run::first_line("id", &["-u"]).as_deref() == Some("0")
}

/// Runs a shell script that begins with `$root` made, in `folder`. Fails with what the script printed.
pub(crate) fn run(script: &str, folder: &Path) -> Result<()> {
    let mut command = run::command("timeout");
    command.args([PATIENCE, "unshare"]);
    if !is_administrator() {
        command.args(["--user", "--map-root-user", "--map-auto"]);
    }
    command.args(["--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child"]);
    command.args(["sh", "-c", &format!("{BEGIN}{script}")]).current_dir(folder);
    let output = run::answer(&mut command)?;
    if !output.status.success() {
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("the trial ended with {}\n{stdout}{stderr}", output.status);
    }
    Ok(())
}

const BEGIN: &str = r#"set -eu
ip link set lo up
work=$(mktemp -d)
mount -t tmpfs none "$work"
mkdir "$work/changes" "$work/own" "$work/root"
root=$work/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/changes,workdir=$work/own" "$root"
mount -t proc proc "$root/proc"
for folder in dev run; do mount -t tmpfs -o mode=0755 none "$root/$folder"; done
mount -t tmpfs -o mode=1777 none "$root/tmp"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir "$root/dev/shm"
"#;

/// Quoted for a shell.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_is_one_that_a_shell_understands() {
        let status = std::process::Command::new("sh").args(["-n", "-c", BEGIN]).status().unwrap();
        assert!(status.success());
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}
