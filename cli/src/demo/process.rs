//! A child process whose output is kept in a file, which dies with us, and which is killed by the pid it
//! was given and no other.
//!
//! The only module of this crate with system calls of its own: signals, and the wish to die with the parent.
#![allow(unsafe_code)]

use crate::error::CliError;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// The tail of a log that is looked at, in bytes.
const TAIL_BYTES: u64 = 64 * 1024;

/// A running child; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `binary` with `arguments`; its stdout and stderr are appended to `log`.
    ///
    /// The child gets SIGKILL when the *thread* that started it ends, which is what the kernel offers: call
    /// it from a thread that lives as long as the child shall (a runtime's worker does).
    pub fn start(name: &str, binary: &Path, arguments: &[String], log: &Path) -> Result<Self, CliError> {
        let mut command = Command::new(binary);
        command.args(arguments);
        Self::spawn(name, command, log)
    }

    /// The same with a command that has more to it: an environment, a user, a folder.
    pub fn spawn(name: &str, command: Command, log: &Path) -> Result<Self, CliError> {
        Self::spawn_apart(name, command, log, log)
    }

    /// The same with its stdout in a file of its own; `log` has its stderr.
    pub fn spawn_apart(name: &str, mut command: Command, out: &Path, log: &Path) -> Result<Self, CliError> {
        let binary = command.get_program().display().to_string();
        let wrong = |error| CliError::failed(format!("cannot start {name} ({binary}): {error}"));
        let append = |file: &Path| OpenOptions::new().create(true).append(true).open(file).map_err(wrong);
        command.stdin(Stdio::null()).stdout(append(out)?).stderr(append(log)?);
        // A Ctrl-C at the terminal is ours to handle: children are in a group of their own.
        command.process_group(0);
        // SAFETY: between fork and exec the closure only makes the async-signal-safe system call prctl.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        let child = command.spawn().map_err(wrong)?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) -> Result<(), CliError> {
        let wrong = |error| CliError::failed(format!("cannot kill {}: {error}", self.name));
        self.child.kill().map_err(wrong)?;
        self.child.wait().map(drop).map_err(wrong)
    }

    /// Asks it to end (SIGTERM); [`Process::ended`] tells when it has.
    pub fn terminate(&mut self) -> Result<(), CliError> {
        self.signal(libc::SIGTERM)
    }

    /// SIGINT, by which PostgreSQL breaks off what is under way and ends in good order.
    pub fn interrupt(&mut self) -> Result<(), CliError> {
        self.signal(libc::SIGINT)
    }

    /// SIGQUIT, by which PostgreSQL ends at once, as after a power cut.
    pub fn quit(&mut self) -> Result<(), CliError> {
        self.signal(libc::SIGQUIT)
    }

    /// Stops it in its tracks (SIGSTOP) until [`Process::unfreeze`].
    pub fn freeze(&mut self) -> Result<(), CliError> {
        self.signal(libc::SIGSTOP)
    }

    /// Lets it go on (SIGCONT).
    pub fn unfreeze(&mut self) -> Result<(), CliError> {
        self.signal(libc::SIGCONT)
    }

    fn signal(&mut self, signal: libc::c_int) -> Result<(), CliError> {
        if self.ended().is_some() {
            return Ok(());
        }
        let pid = libc::pid_t::try_from(self.child.id()).map_err(|error| CliError::failed(error.to_string()))?;
        // SAFETY: kill has no memory effects; the pid is of our own child, which `ended` has just shown to be
        // unreaped, so that the number cannot have been given to another process.
        match unsafe { libc::kill(pid, signal) } {
            0 => Ok(()),
            _ => Err(CliError::failed(format!("cannot signal {}: {}", self.name, std::io::Error::last_os_error()))),
        }
    }

    /// Its log file.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill and nothing to report.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last lines of a log file; empty if it cannot be read.
#[must_use]
pub fn log_tail(log: &Path, lines: usize) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, log: &Path) -> Process {
        Process::start("sh", Path::new("/bin/sh"), &["-c".to_owned(), script.to_owned()], log)
            .expect("there is a shell")
    }

    #[test]
    fn output_is_kept_and_a_killed_child_is_gone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("log");
        let mut child = shell("echo one; echo two >&2; exec sleep 100", &log);
        while !log_tail(&log, 9).contains("two") {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(log_tail(&log, 1), "two");
        assert!(child.ended().is_none());
        child.kill().expect("it is ours");
        assert!(child.ended().is_some_and(|status| status.code().is_none()), "ended by a signal");
        child.terminate().expect("nothing is signalled once it is gone");
    }

    #[test]
    fn a_frozen_child_ends_only_when_let_go() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut child = shell("exec sleep 100", &folder.path().join("log"));
        child.freeze().expect("it is ours");
        // The signal is on its way when `freeze` returns; one that ends the process may still overtake it.
        let stat = format!("/proc/{}/stat", child.pid());
        while !std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T ")) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        child.terminate().expect("it is ours");
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(child.ended().is_none(), "a stopped process does not handle SIGTERM");
        child.unfreeze().expect("it is ours");
        while child.ended().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}
