//! A PostgreSQL of the run's own: made by initdb in the run's folder, run as a child of ours under a user who may nothing,
//! and ended in every way there is.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use doorbuster_cli::clock;
use doorbuster_cli::demo::ports::free_ports;
use doorbuster_cli::demo::process::{Process, log_tail};
use doorbuster_cli::error::CliError;
use tokio::net::TcpStream;

/// Where the binaries may be, besides PATH.
const FOLDERS: [&str; 6] = [
    "/usr/lib/postgresql/18/bin",
    "/usr/lib/postgresql/17/bin",
    "/usr/lib/postgresql/16/bin",
    "/usr/lib/postgresql/15/bin",
    "/usr/lib/postgresql/14/bin",
    "/usr/local/bin",
];
/// How long it may take to accept connections, recovery included, and to end.
const WITHIN: Duration = Duration::from_secs(60);

/// A way to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In good order; transactions under way are broken off.
    Fast,
    /// At once; the next start recovers.
    Immediate,
    /// `kill -9` of its first process; the others find out.
    Killed,
}

/// The database.
#[derive(Debug)]
pub struct Postgres {
    binaries: PathBuf,
    user: Option<(u32, u32)>,
    port: u16,
    folder: PathBuf,
    process: Option<Process>,
}

impl Postgres {
    /// Makes one under `folder` and starts it.
    pub async fn start(folder: &Path) -> Result<Self, CliError> {
        let missing = || CliError::failed("PostgreSQL is missing (initdb, postgres): run ./test, or install it");
        let binaries = binaries().ok_or_else(missing)?;
        let wrong = |error: std::io::Error| CliError::failed(format!("{}: {error}", folder.display()));
        fs::create_dir_all(folder.join("data")).map_err(wrong)?;
        let user = other_user(folder).map_err(wrong)?;
        for path in [folder.to_owned(), folder.join("data")] {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).map_err(wrong)?;
            if let Some((uid, gid)) = user {
                chown(&path, Some(uid), Some(gid)).map_err(wrong)?;
            }
        }
        let [port] = free_ports::<1>()?;
        let mut postgres = Self { binaries, user, port, folder: folder.to_owned(), process: None };
        let mut command = postgres.command("initdb");
        command.args(["-A", "trust", "-U", "shop", "--no-sync", "--locale=C", "-E", "UTF8", "-D"]);
        let made = command.arg(folder.join("data")).stdin(Stdio::null()).output().map_err(wrong)?;
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr).into_owned();
            return Err(CliError::failed(format!("initdb failed: {said}")));
        }
        postgres.up().await?;
        Ok(postgres)
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its first process, whose children are all others; `None` while it does not run.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Its URL when it is reached at `address`.
    pub fn url(address: &str) -> String {
        format!("postgres://shop@{address}/postgres?sslmode=disable")
    }

    /// Starts it and waits until it accepts connections. What a killed one left behind may still be ending: tries again.
    pub async fn up(&mut self) -> Result<(), CliError> {
        let deadline = clock::now() + WITHIN;
        loop {
            let mut command = self.command("postgres");
            command.arg("-D").arg(self.folder.join("data")).arg("-k").arg(&self.folder);
            command.args([
                "-p",
                &self.port.to_string(),
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "max_connections=60",
            ]);
            let mut process = Process::spawn("PostgreSQL", command, &self.log())?;
            while process.ended().is_none() {
                if TcpStream::connect(self.address()).await.is_ok() {
                    self.process = Some(process);
                    return Ok(());
                }
                if clock::now() > deadline {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            if clock::now() > deadline {
                let said = log_tail(&self.log(), 15);
                return Err(CliError::failed(format!("PostgreSQL does not start; it logged last\n{said}")));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Ends it, and waits until it has.
    pub async fn down(&mut self, ending: Ending) -> Result<(), CliError> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        match ending {
            Ending::Fast => process.interrupt()?,
            Ending::Immediate => process.quit()?,
            Ending::Killed => process.kill()?,
        }
        let deadline = clock::now() + WITHIN;
        while process.ended().is_none() {
            if clock::now() > deadline {
                return Err(CliError::failed(format!("PostgreSQL does not end ({ending:?})")));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    fn log(&self) -> PathBuf {
        self.folder.with_extension("log")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        command.current_dir(&self.folder);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

fn binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = FOLDERS.iter().map(PathBuf::from).chain(std::env::split_paths(&path));
    folders.into_iter().find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
}

/// Whom to run as when we are root, which PostgreSQL refuses: whoever owns a new file is who we are.
fn other_user(folder: &Path) -> std::io::Result<Option<(u32, u32)>> {
    if fs::metadata(folder)?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(|field| field.parse().ok());
        Some((fields.next()??, fields.next()??))
    };
    let found = ["postgres", "nobody"].iter().find_map(|name| ids(name));
    found.map(Some).ok_or_else(|| std::io::Error::other("no user other than root to run PostgreSQL as"))
}
