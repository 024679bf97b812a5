//! The disk of the operating system. The only module of this crate with unsafe code: one call that asks for free space.
#![allow(unsafe_code)]

use std::{
    ffi::CString,
    fs::{self, File, OpenOptions},
    io,
    os::unix::{ffi::OsStrExt, fs::FileExt},
    path::Path,
    sync::Arc,
};

use super::{Disk, DiskFile};

/// Zeros are written in pieces of this size ...
const ZERO_CHUNK: usize = 1 << 20;

/// ... and synced after this many bytes, so that filling a file ahead of need never piles up dirty pages that a log round's
/// sync would then have to wait for.
const ZERO_BURST: u64 = 8 << 20;

/// Files as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir_all(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir_all(directory)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(names)
    }

    fn create(&self, path: &Path, zeroed: u64) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        fill_with_zeros(&file, zeroed)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }

    fn free_space(&self, directory: &Path) -> io::Result<u64> {
        let path = CString::new(directory.as_os_str().as_bytes())?;
        // SAFETY: statvfs is a plain C struct for which all zeros is a valid value.
        let mut space: libc::statvfs = unsafe { std::mem::zeroed() };
        // SAFETY: `path` is a NUL-terminated string that lives through the call, `space` a valid place to write to.
        let result = unsafe { libc::statvfs(path.as_ptr(), &raw mut space) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

/// Real bytes rather than a sparse file or an unwritten extent: only those spare a later write all allocation.
fn fill_with_zeros(file: &File, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX).min(ZERO_CHUNK)];
    let mut offset = 0;
    while offset < bytes {
        let step = (bytes - offset).min(ZERO_CHUNK as u64);
        let chunk = usize::try_from(step).map_or(&zeros[..], |step| &zeros[..step]);
        file.write_all_at(chunk, offset)?;
        offset += step;
        if offset % ZERO_BURST == 0 {
            file.sync_data()?;
        }
    }
    Ok(())
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        self.0.write_at(data, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}
