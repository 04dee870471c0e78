//! A command on a terminal of its own, with the screen that a person sees.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::{PATIENCE, wait};

/// Rows and columns of the screen.
pub const ROWS: u16 = 24;
pub const COLUMNS: u16 = 80;

/// A running command; killed when dropped.
pub struct Terminal {
    child: Child,
    keyboard: File,
    /// The terminal itself, which outlives the command.
    own: OwnedFd,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    /// Everything that was written to it.
    pub raw: Vec<u8>,
}

impl Terminal {
    pub fn start(mut command: Command) -> Terminal {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&keyboard, size).unwrap();
        let path = ptsname(&keyboard, Vec::new()).unwrap();
        let own = rustix::fs::open(path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        // The terminal that runs the tests may be none, or a dumb one.
        if !command.get_envs().any(|(key, _)| key == "TERM") {
            command.env("TERM", "xterm");
        }
        let stream = || Stdio::from(own.try_clone().unwrap());
        let child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        let keyboard = File::from(keyboard);
        let mut reader = keyboard.try_clone().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(len @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..len].to_vec()).is_err() {
                    return;
                }
            }
        });
        let screen = vt100::Parser::new(ROWS, COLUMNS, 0);
        Terminal { child, keyboard, own, output, screen, raw: Vec::new() }
    }

    /// Presses keys, as the bytes that they send.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// The lines of the screen, without spaces at their ends and without empty lines at its end.
    pub fn lines(&self) -> Vec<String> {
        let text = self.screen.screen().contents();
        text.lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// Row and column of the cursor.
    pub fn cursor(&self) -> (u16, u16) {
        self.screen.screen().cursor_position()
    }

    /// Waits until the screen is as wanted.
    pub fn until(&mut self, what: &str, is_wanted: impl Fn(&[String]) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_wanted(&self.lines()) {
            let left = until.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.take(&bytes),
                Err(_) => panic!("never seen: {what}; the screen: {:#?}", self.lines()),
            }
        }
    }

    /// Waits until a line of the screen begins like this.
    pub fn shows(&mut self, line: &str) {
        self.until(line, |lines| lines.iter().any(|shown| shown.starts_with(line)));
    }

    fn take(&mut self, bytes: &[u8]) {
        self.raw.extend_from_slice(bytes);
        self.screen.process(bytes);
    }

    /// Sends a signal by its name, as `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Waits for the command's end, and takes the rest of its output.
    pub fn wait(&mut self) -> ExitStatus {
        let status = wait(&mut self.child);
        // Its output is in the terminal; this mark comes behind it.
        File::from(self.own.try_clone().unwrap()).write_all(b"\x1b[99;99H$end").unwrap();
        self.until("the mark", |lines| lines.last().is_some_and(|line| line.contains('$')));
        status
    }

    /// Does the terminal itself edit lines and echo keys, as a shell expects it?
    pub fn is_restored(&self) -> bool {
        tcgetattr(&self.own)
            .unwrap()
            .local_modes
            .contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
