//! A PostgreSQL cluster of a test's own: made by initdb in a temporary folder, on a free port of the loopback
//! interface, stopped and deleted with it. PostgreSQL refuses to run as root; then it runs as `postgres` or `nobody`.

use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use parking_lot::RwLock;
use tempfile::TempDir;

/// Where the binaries may be, besides PATH.
const FOLDERS: [&str; 5] = [
    "/usr/lib/postgresql/17/bin",
    "/usr/lib/postgresql/16/bin",
    "/usr/lib/postgresql/15/bin",
    "/usr/lib/postgresql/14/bin",
    "/usr/local/bin",
];

/// Held while a process is being started: it has our files for a moment, also those that are to be closed for it, and so ports
/// that somebody has just closed.
pub static SPAWNING: RwLock<()> = RwLock::new(());

pub struct Cluster {
    binaries: PathBuf,
    user: Option<(u32, u32)>,
    port: u16,
    folder: TempDir,
    running: bool,
}

impl Cluster {
    /// `None` if there is no PostgreSQL on this machine.
    pub fn start() -> Option<Self> {
        let Some(binaries) = binaries() else {
            assert!(std::env::var_os("DOORBUSTER_REQUIRE_POSTGRES").is_none(), "no PostgreSQL binaries found");
            eprintln!("skipped: no PostgreSQL on this machine");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("doorbuster-pg-").tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let user = other_user(folder.path());
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).unwrap();
            chown(&data, Some(uid), Some(gid)).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut cluster = Self { binaries, user, port, folder, running: false };
        cluster.run(
            "initdb",
            &["-D", &cluster.data(), "-A", "trust", "-U", "shop", "--no-sync", "--locale=C", "-E", "UTF8"],
        );
        cluster.up();
        Some(cluster)
    }

    pub fn url(&self) -> String {
        format!("postgres://shop@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    pub fn up(&mut self) {
        let folder = self.folder.path().display();
        let options = format!("-p {} -k {folder} -c listen_addresses=127.0.0.1 -c max_connections=40", self.port);
        let log = format!("{folder}/log");
        self.run("pg_ctl", &["-D", &self.data(), "-w", "-t", "60", "-l", &log, "-o", &options, "start"]);
        self.running = true;
    }

    /// Stops it as a power cut would.
    pub fn down(&mut self) {
        self.run("pg_ctl", &["-D", &self.data(), "-w", "-m", "immediate", "stop"]);
        self.running = false;
    }

    fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut child = spawn(&mut self.command(program, arguments)).unwrap();
        let ended = child.wait().unwrap();
        assert!(ended.success(), "{program} {arguments:?}: {ended}");
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.running {
            let mut stop = self.command("pg_ctl", &["-D", &self.data(), "-w", "-m", "immediate", "stop"]);
            let _stopped = spawn(&mut stop).and_then(|mut child| child.wait());
        }
    }
}

fn spawn(command: &mut Command) -> std::io::Result<Child> {
    let _starting = SPAWNING.read();
    command.spawn()
}

fn binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = FOLDERS.iter().map(PathBuf::from).chain(std::env::split_paths(&path));
    folders.into_iter().find(|folder| folder.join("initdb").is_file() && folder.join("pg_ctl").is_file())
}

/// Whom to run as when we are root: whoever owns a new file is who we are.
fn other_user(folder: &Path) -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    if std::fs::metadata(folder).unwrap().uid() != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(|field| field.parse().ok());
        Some((fields.next()??, fields.next()??))
    };
    Some(["postgres", "nobody"].iter().find_map(|name| ids(name)).expect("a user other than root to run PostgreSQL as"))
}
