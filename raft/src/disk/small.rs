//! Small files that are replaced as a whole: there is always the old one or the new one, never a part of either.

use std::{io, path::Path};

use super::{Disk, write_whole};

/// Ends the name of a file that is being written.
const TEMPORARY: &str = ".new";
/// Nothing that is kept so is larger.
const MOST: u64 = 1 << 20;

/// The contents of a file.
///
/// # Errors
/// `NotFound` if it is not there, `InvalidData` if it is larger than 1 MiB, or the disk's.
pub fn read_small(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let length = file.length()?;
    let size = usize::try_from(length).ok().filter(|_| length <= MOST);
    let size = size.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("it has {length} bytes")))?;
    let mut contents = vec![0; size];
    file.read_exact_at(0, &mut contents)?;
    Ok(contents)
}

/// Writes a file next to the one it replaces, and gives it the name when it is durable; the name is durable on return.
/// A crash leaves `name` as it was or as it shall be, and perhaps a file `name.new`, which the next call replaces.
///
/// # Errors
/// The disk's. The file may have been replaced or not, and the change may be lost again.
pub fn replace_small(disk: &dyn Disk, directory: &Path, name: &str, contents: &[u8]) -> io::Result<()> {
    let temporary = directory.join(format!("{name}{TEMPORARY}"));
    let file = match disk.create(&temporary, 0) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(&temporary)?;
            // Else a crash may keep the rename below and not this: the leftover would get the name.
            disk.sync_dir(directory)?;
            disk.create(&temporary, 0)?
        }
        created => created?,
    };
    write_whole(&*file, 0, contents)?;
    file.sync_all()?;
    disk.rename(&temporary, &directory.join(name))?;
    disk.sync_dir(directory)
}
