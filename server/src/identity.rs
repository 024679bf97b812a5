//! Who a data folder belongs to.
//!
//! A folder is made a node's by [`format()`], once, explicitly; [`open`] only ever accepts a folder that was formatted
//! for this very node. A node that lost its data may have voted and acknowledged, so it must never come back as if it
//! were new: its incarnation, drawn when the folder was formatted, would be another, and its peers, who remember
//! the one they met ([`DataFolder::remember_peer`]), refuse it.
//!
//! Everything here is written to a temporary file, synced, renamed, and the folder synced. A lock file keeps a
//! second process out.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use doorbuster_protocol::types::NodeId;
use doorbuster_raft::transport::Incarnation;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::config::ServerConfig;
use crate::entropy;

/// Version of the data folder's layout that this build reads and writes.
pub const FORMAT: u32 = 1;

const IDENTITY_FILE: &str = "identity.toml";
const PEERS_FILE: &str = "peers.toml";
const LOCK_FILE: &str = "lock";

/// What a data folder says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's name.
    pub cluster: String,
    /// The node.
    pub node: NodeId,
    /// Raft groups of the cluster.
    pub shards: u16,
    /// This life of the node.
    pub incarnation: Incarnation,
}

/// A node's data folder, opened and locked. The lock ends with it, or with the process.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    identity: Identity,
    peers: Mutex<BTreeMap<NodeId, Incarnation>>,
    _lock: File,
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is no identity in it.
    #[error(
        "node {node} has no data in {folder}; if this is the first start of a new cluster, run \
         `doorbuster server format --data {folder} --node {node} ...` once; if it had data before, it must not come back as node {node}: \
         it may have voted and acknowledged what is now lost",
        folder = folder.display()
    )]
    Missing {
        /// The folder.
        folder: PathBuf,
        /// The node that was to start.
        node: u16,
    },
    /// It was formatted before.
    #[error(
        "{folder} belongs to node {node} of cluster {cluster:?} already; start that, or choose another folder",
        folder = folder.display()
    )]
    Formatted {
        /// The folder.
        folder: PathBuf,
        /// Whose it is.
        node: u16,
        /// Of which cluster.
        cluster: String,
    },
    /// It has files that are not ours.
    #[error("{folder} is not empty (it has {found:?}) and not a data folder; choose another", folder = folder.display())]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// One of the files found.
        found: String,
    },
    /// It belongs to somebody else than configured.
    #[error(
        "{folder} was formatted with {field} = {formatted}, but the configuration says {configured}; \
         correct the configuration, or `data`",
        folder = folder.display()
    )]
    Mismatch {
        /// The folder.
        folder: PathBuf,
        /// What differs.
        field: &'static str,
        /// What the folder says.
        formatted: String,
        /// What the configuration says.
        configured: String,
    },
    /// Another process has it open.
    #[error("{folder} is in use by another process; a node can only run once", folder = folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// A file in it is damaged or of another version.
    #[error("{file} cannot be used: {problem}", file = file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The disk refuses.
    #[error("{file}: {source}", file = file.display())]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

/// Makes an empty or missing folder the data folder of the configured node, durably. The first start of a cluster
/// does this once on each node.
///
/// # Errors
/// If it belongs to a node already, has other files in it, or the disk refuses.
pub fn format(config: &ServerConfig) -> Result<Identity, IdentityError> {
    let folder = &config.data;
    fs::create_dir_all(folder).map_err(|source| IdentityError::Io { file: folder.clone(), source })?;
    let _lock = lock(folder)?;
    if let Some(identity) = read_identity(folder)? {
        return Err(IdentityError::Formatted {
            folder: folder.clone(),
            node: identity.node.get(),
            cluster: identity.cluster,
        });
    }
    if let Some(found) = first_file(folder)? {
        return Err(IdentityError::Foreign { folder: folder.clone(), found });
    }
    let incarnation = entropy::random_bytes().map_err(|source| IdentityError::Io { file: folder.clone(), source })?;
    let identity = Identity {
        cluster: config.cluster.clone(),
        node: config.node(),
        shards: config.shards,
        incarnation: Incarnation(incarnation),
    };
    write_durably(folder, IDENTITY_FILE, &IdentityToml::from(&identity))?;
    sync_parent(folder)?;
    Ok(identity)
}

/// Opens and locks the configured node's data folder.
///
/// # Errors
/// If it has no identity, another's, is damaged, in use, or the disk refuses.
pub fn open(config: &ServerConfig) -> Result<DataFolder, IdentityError> {
    let folder = &config.data;
    let missing = || IdentityError::Missing { folder: folder.clone(), node: config.node };
    if !folder.join(IDENTITY_FILE).exists() {
        return Err(missing());
    }
    let lock = lock(folder)?;
    let identity = read_identity(folder)?.ok_or_else(missing)?;
    matches(folder, "cluster", &identity.cluster, &config.cluster)?;
    matches(folder, "node", &identity.node.get(), &config.node)?;
    matches(folder, "shards", &identity.shards, &config.shards)?;
    let peers = Mutex::new(read_peers(folder)?);
    Ok(DataFolder { path: folder.clone(), identity, peers, _lock: lock })
}

impl DataFolder {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The incarnation in which a peer was met before.
    #[must_use]
    pub fn known_peer(&self, node: NodeId) -> Option<Incarnation> {
        self.peers.lock().get(&node).copied()
    }

    /// Remembers a peer's incarnation; durable when it returns. Remembering another one than before is refused: that is
    /// for an operator who replaces the node.
    ///
    /// # Errors
    /// If another one is remembered, or the disk refuses (then it is not remembered).
    pub fn remember_peer(&self, node: NodeId, incarnation: Incarnation) -> io::Result<()> {
        let mut peers = self.peers.lock();
        match peers.get(&node) {
            Some(known) if *known == incarnation => return Ok(()),
            Some(known) => {
                let (known, now) = (hex(*known), hex(incarnation));
                let text = format!("node {node} was met as incarnation {known}, not {now}: it lost its data");
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
            }
            None => {}
        }
        let mut grown = peers.clone();
        grown.insert(node, incarnation);
        write_durably(&self.path, PEERS_FILE, &PeersToml::from(&grown)).map_err(io::Error::other)?;
        *peers = grown;
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityToml {
    format: u32,
    cluster: String,
    node: u16,
    shards: u16,
    incarnation: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PeersToml {
    format: u32,
    /// Node number, as text because TOML's keys are, to incarnation.
    incarnations: BTreeMap<String, String>,
}

impl From<&Identity> for IdentityToml {
    fn from(identity: &Identity) -> Self {
        Self {
            format: FORMAT,
            cluster: identity.cluster.clone(),
            node: identity.node.get(),
            shards: identity.shards,
            incarnation: hex(identity.incarnation),
        }
    }
}

impl From<&BTreeMap<NodeId, Incarnation>> for PeersToml {
    fn from(peers: &BTreeMap<NodeId, Incarnation>) -> Self {
        let incarnations = peers.iter().map(|(node, known)| (node.to_string(), hex(*known))).collect();
        Self { format: FORMAT, incarnations }
    }
}

/// 32 hexadecimal digits.
fn hex(incarnation: Incarnation) -> String {
    format!("{:032x}", u128::from_be_bytes(incarnation.0))
}

fn parse_hex(text: &str) -> Option<Incarnation> {
    let number = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32)?;
    Some(Incarnation(number.to_be_bytes()))
}

fn lock(folder: &Path) -> Result<File, IdentityError> {
    let path = folder.join(LOCK_FILE);
    let io = |source| IdentityError::Io { file: path.clone(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(IdentityError::InUse { folder: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

fn read_identity(folder: &Path) -> Result<Option<Identity>, IdentityError> {
    let file = folder.join(IDENTITY_FILE);
    let Some(stored) = read_toml::<IdentityToml>(&file, |stored| stored.format)? else { return Ok(None) };
    let damaged = |problem: &str| IdentityError::Damaged { file: file.clone(), problem: problem.to_owned() };
    let incarnation =
        parse_hex(&stored.incarnation).ok_or_else(|| damaged("`incarnation` is not 32 hexadecimal digits"))?;
    if stored.node == 0 {
        return Err(damaged("`node` is 0"));
    }
    Ok(Some(Identity { cluster: stored.cluster, node: NodeId(stored.node), shards: stored.shards, incarnation }))
}

fn read_peers(folder: &Path) -> Result<BTreeMap<NodeId, Incarnation>, IdentityError> {
    let file = folder.join(PEERS_FILE);
    let Some(stored) = read_toml::<PeersToml>(&file, |stored| stored.format)? else { return Ok(BTreeMap::new()) };
    let pairs = stored.incarnations.iter().map(|(node, known)| {
        let pair = node.parse().ok().map(NodeId).zip(parse_hex(known));
        let problem = format!("`{node} = {known:?}` is no node and incarnation");
        pair.ok_or_else(|| IdentityError::Damaged { file: file.clone(), problem })
    });
    pairs.collect()
}

fn read_toml<T: for<'a> Deserialize<'a>>(file: &Path, version: fn(&T) -> u32) -> Result<Option<T>, IdentityError> {
    let damaged = |problem| IdentityError::Damaged { file: file.to_owned(), problem };
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|source| IdentityError::Io { file: file.to_owned(), source })?,
    };
    let stored: T = toml::from_str(&text).map_err(|error| damaged(error.message().to_owned()))?;
    match version(&stored) {
        FORMAT => Ok(Some(stored)),
        other => Err(damaged(format!("it has format {other}, and this build reads format {FORMAT}"))),
    }
}

fn matches<T: PartialEq + fmt::Display>(
    folder: &Path,
    field: &'static str,
    formatted: &T,
    configured: &T,
) -> Result<(), IdentityError> {
    if formatted == configured {
        return Ok(());
    }
    let (formatted, configured) = (formatted.to_string(), configured.to_string());
    Err(IdentityError::Mismatch { folder: folder.to_owned(), field, formatted, configured })
}

/// A file in the folder other than the lock, if there is one.
fn first_file(folder: &Path) -> Result<Option<String>, IdentityError> {
    let io = |source| IdentityError::Io { file: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        // A format that was interrupted leaves its temporary file; ext4 leaves `lost+found` at the root of a disk.
        if ![LOCK_FILE, "lost+found"].contains(&name.to_string_lossy().as_ref()) && name != *temporary(IDENTITY_FILE) {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

fn write_durably(folder: &Path, name: &str, content: &impl Serialize) -> Result<(), IdentityError> {
    let file = folder.join(name);
    let io = |source| IdentityError::Io { file: file.clone(), source };
    let text = toml::to_string(content).map_err(|error| io(io::Error::other(error)))?;
    let temporary = folder.join(temporary(name));
    let mut out = File::create(&temporary).map_err(io)?;
    out.write_all(text.as_bytes()).and_then(|()| out.sync_all()).map_err(io)?;
    fs::rename(&temporary, &file).map_err(io)?;
    sync(folder).map_err(io)
}

fn temporary(name: &str) -> String {
    format!("{name}.new")
}

/// The folder itself may be new: its name must be durable too.
fn sync_parent(folder: &Path) -> Result<(), IdentityError> {
    let io = |source| IdentityError::Io { file: folder.to_owned(), source };
    let absolute = fs::canonicalize(folder).map_err(io)?;
    absolute.parent().map_or(Ok(()), sync).map_err(io)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
