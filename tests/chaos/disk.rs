//! A disk that can be filled: a small ext4 file system on a loop device, where root and mount are allowed.
//!
//! `./chaos` runs in a mount namespace of its own where that is allowed, so that whatever happens the mount goes with it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use doorbuster_cli::error::CliError;

/// Room for a server's log and snapshots, and not much more.
const BYTES: u64 = 96 << 20;
const FILL: &str = "fill";

/// A mounted disk; unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Makes and mounts one under `folder`; why not, if it cannot be done here.
    pub fn mount(folder: &Path) -> Result<Self, String> {
        let (image, folder) = (folder.join("disk.img"), folder.join("disk"));
        let wrong = |error: io::Error| format!("{}: {error}", image.display());
        fs::create_dir_all(&folder).map_err(wrong)?;
        File::create(&image).and_then(|file| file.set_len(BYTES)).map_err(wrong)?;
        // No blocks kept for root: we are root, and want to meet the end.
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&folder))?;
        Ok(Self { folder })
    }

    /// Where a node's data can go.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Fills it to the last byte.
    pub fn fill(&self) -> Result<(), CliError> {
        let path = self.folder.join(FILL);
        let wrong = |error: io::Error| CliError::failed(format!("{}: {error}", path.display()));
        let mut file = File::options().create(true).append(true).open(&path).map_err(wrong)?;
        for size in [1 << 20, 4096, 512, 1] {
            let zeros = vec![0; size];
            loop {
                match file.write_all(&zeros) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(wrong(error)),
                }
            }
        }
        // Delayed allocation may find that it promised too much; full is full.
        let _full = file.sync_all();
        Ok(())
    }

    /// Makes room again.
    pub fn make_room(&self) -> Result<(), CliError> {
        let path = self.folder.join(FILL);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(CliError::failed(format!("{}: {error}", path.display())))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open there is ending.
        if let Err(problem) = run(Command::new("umount").arg("-l").arg(&self.folder)) {
            doorbuster_cli::output::line(&format!(
                "the small disk stays mounted at {}: {problem}",
                self.folder.display()
            ));
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{name}: {}", said.trim_end())) }
}
