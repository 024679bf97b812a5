//! A file system's names: what processes see, what is certain, and the changes between the two.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::super::rng::Rng;
use super::inode::{Inode, Keep};

/// What a name stands for.
#[derive(Clone)]
pub(super) enum Named {
    Directory,
    File(Arc<Mutex<Inode>>),
}

/// A change of names that is not yet certain.
pub(super) enum Change {
    Create(PathBuf, Named),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Named>) {
        match self {
            Self::Create(path, named) => {
                names.insert(path.clone(), named.clone());
            }
            Self::Rename(from, to) => {
                if let Some(named) = names.remove(from) {
                    names.insert(to.clone(), named);
                }
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }

    fn is_in(&self, directory: &Path) -> bool {
        let (Self::Create(path, _) | Self::Rename(path, _) | Self::Remove(path)) = self;
        path.parent() == Some(directory)
    }
}

/// All names of a disk. The root is always there.
#[derive(Default)]
pub(super) struct Names {
    current: BTreeMap<PathBuf, Named>,
    durable: BTreeMap<PathBuf, Named>,
    changes: Vec<Change>,
}

impl Names {
    pub(super) fn get(&self, path: &Path) -> Option<&Named> {
        self.current.get(path)
    }

    pub(super) fn file(&self, path: &Path) -> Option<Arc<Mutex<Inode>>> {
        match self.current.get(path) {
            Some(Named::File(inode)) => Some(Arc::clone(inode)),
            _ => None,
        }
    }

    pub(super) fn is_directory(&self, path: &Path) -> bool {
        path.parent().is_none() || matches!(self.current.get(path), Some(Named::Directory))
    }

    pub(super) fn change(&mut self, change: Change) {
        change.apply(&mut self.current);
        self.changes.push(change);
    }

    pub(super) fn sync(&mut self, directory: &Path) {
        let (synced, rest): (Vec<_>, Vec<_>) = self.changes.drain(..).partition(|change| change.is_in(directory));
        self.changes = rest;
        synced.iter().for_each(|change| change.apply(&mut self.durable));
    }

    /// A sync of a directory that fails: some of the first changes are on disk. Unlike a file's pages they do not count as
    /// clean: file systems keep names in a journal, and one that cannot write it stops or tries again.
    pub(super) fn fail_sync(&mut self, directory: &Path, rng: &mut Rng) {
        let mut changes: Vec<_> = self.changes.drain(..).collect();
        let mut written = true;
        changes.retain(|change| {
            written &= !change.is_in(directory) || rng.percent(50);
            if written && change.is_in(directory) {
                change.apply(&mut self.durable);
            }
            !(written && change.is_in(directory))
        });
        self.changes = changes;
    }

    /// Power comes back. How many changes were lost.
    pub(super) fn power_cycle(&mut self, keep: Keep, rng: &mut Rng) -> u64 {
        let mut lost = 0;
        for change in std::mem::take(&mut self.changes) {
            if keep.draw(rng) {
                change.apply(&mut self.durable);
            } else {
                lost += 1;
            }
        }
        // What is in a directory that has no name cannot be reached. Parents come before their children.
        let mut reachable: BTreeMap<PathBuf, Named> = BTreeMap::new();
        for (path, named) in std::mem::take(&mut self.durable) {
            let held = path.parent().is_some_and(|parent| {
                parent.parent().is_none() || matches!(reachable.get(parent), Some(Named::Directory))
            });
            if held {
                reachable.insert(path, named);
            }
        }
        self.durable = reachable;
        self.current = self.durable.clone();
        lost
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (&Path, &Arc<Mutex<Inode>>)> {
        self.current.iter().filter_map(|(path, named)| match named {
            Named::File(inode) => Some((path.as_path(), inode)),
            Named::Directory => None,
        })
    }

    pub(super) fn inside(&self, directory: &Path) -> Vec<String> {
        let inside = self.files().filter(|(path, _)| path.parent() == Some(directory));
        inside.filter_map(|(path, _)| Some(path.file_name()?.to_string_lossy().into_owned())).collect()
    }
}
