//! Where the data of what is measured goes: a temporary folder that PostgreSQL's user may enter, on a disk if syncs count.

use doorbuster_cli::error::CliError;
use std::path::Path;
use tempfile::TempDir;

/// What `statfs` says of a file system in memory.
const TMPFS: i64 = 0x0102_1994;

/// One under `under`, or where such folders go.
///
/// # Errors
/// It cannot be made, or is in memory though `synced`.
pub fn temporary(under: Option<&Path>, synced: bool) -> Result<TempDir, CliError> {
    let under = under.map_or_else(std::env::temp_dir, Path::to_owned);
    let wrong =
        |error: std::io::Error| CliError::failed(format!("no folder in {}: {error}; try --data", under.display()));
    if synced && rustix::fs::statfs(&under).is_ok_and(|system| system.f_type == TMPFS) {
        return Err(CliError::usage(format!(
            "{} is in memory: nothing would be synced to a disk; give --data FOLDER on the disk that counts",
            under.display()
        )));
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix("doorbuster-benches-").permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755));
    builder.tempdir_in(&under).map_err(wrong)
}
