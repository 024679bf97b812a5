//! Syncs that are slow, or fail: `slow_sync.c` stands between a server and the kernel, and reads before each sync what a
//! file says. From outside: the server knows nothing of it. Left out where there is no C compiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use doorbuster_cli::error::CliError;
use doorbuster_protocol::types::NodeId;

const SOURCE: &str = include_str!("slow_sync.c");
/// EIO, on every Linux.
const INPUT_OUTPUT_ERROR: i32 = 5;

/// Says how the servers' syncs go.
#[derive(Clone, Debug)]
pub struct Syncs {
    library: PathBuf,
    folder: PathBuf,
}

impl Syncs {
    /// Builds the library under `folder`; `None`, and why, if it cannot be built here.
    pub fn build(folder: &Path) -> Result<Self, String> {
        let (source, library) = (folder.join("slow_sync.c"), folder.join("slow_sync.so"));
        fs::write(&source, SOURCE).map_err(|error| format!("{}: {error}", source.display()))?;
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl").stdin(Stdio::null());
        let built = command.output().map_err(|error| format!("cc: {error}"))?;
        if !built.status.success() {
            return Err(format!("cc: {}", String::from_utf8_lossy(&built.stderr)));
        }
        Ok(Self { library, folder: folder.to_owned() })
    }

    /// What a server's environment needs.
    pub fn environment(&self, node: NodeId) -> Vec<(String, String)> {
        let pair = |name: &str, path: &Path| (name.to_owned(), path.display().to_string());
        vec![pair("LD_PRELOAD", &self.library), pair("DOORBUSTER_SYNC_CONTROL", &self.control(node))]
    }

    /// Each sync of the node takes so much longer, from the next on.
    pub fn slow(&self, node: NodeId, by: Duration) -> Result<(), CliError> {
        self.say(node, &format!("{} 0\n", by.as_micros()))
    }

    /// Each sync of the node fails, from the next on.
    pub fn fail(&self, node: NodeId) -> Result<(), CliError> {
        self.say(node, &format!("0 {INPUT_OUTPUT_ERROR}\n"))
    }

    /// As the disk does them.
    pub fn plain(&self, node: NodeId) -> Result<(), CliError> {
        self.say(node, "0 0\n")
    }

    /// Replaced by renaming, so that no sync reads half of it.
    fn say(&self, node: NodeId, what: &str) -> Result<(), CliError> {
        let (path, new) = (self.control(node), self.folder.join(format!("sync{node}.new")));
        let said = fs::write(&new, what).and_then(|()| fs::rename(&new, &path));
        said.map_err(|error| CliError::failed(format!("{}: {error}", path.display())))
    }

    fn control(&self, node: NodeId) -> PathBuf {
        self.folder.join(format!("sync{node}"))
    }
}
