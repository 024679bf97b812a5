//! Who a data folder belongs to.
//!
//! A folder is made a node's by [`format()`], once, explicitly; [`open`] only ever accepts a folder that was formatted
//! for this very node. A node that lost its data may have voted and acknowledged, so it must never come back as if it
//! were new: its incarnation, drawn when the folder was formatted, would be another, and its peers, who remember
//! the one they met ([`DataFolder::remember_peer`]), refuse it.
//!
//! Everything here is written to a temporary file, synced, renamed, and the folder synced, and ends with a checksum: a
//! peer's incarnation that is read wrongly would make this node refuse, and end, one that is healthy. What keeps a
//! second process out is [`lock`].

pub mod lock;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use doorbuster_protocol::types::NodeId;
use doorbuster_raft::disk::{Disk, create_durable_dir, read_small, replace_small};
use doorbuster_raft::transport::Incarnation;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Version of the data folder's layout that this build reads and writes.
pub const FORMAT: u32 = 1;

const IDENTITY_FILE: &str = "identity.toml";
const PEERS_FILE: &str = "peers.toml";
/// Begins the last line of each file; the CRC-32 of what stands before it follows.
const CHECKSUM: &str = "# crc32 ";

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

/// Whose a folder should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The cluster's name.
    pub cluster: String,
    /// The node.
    pub node: NodeId,
    /// Raft groups of the cluster.
    pub shards: u16,
}

/// A node's data folder, opened.
pub struct DataFolder {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    identity: Identity,
    peers: Mutex<BTreeMap<NodeId, Incarnation>>,
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

/// Makes an empty or missing folder its owner's data folder, durably. The first start of a cluster does this once on
/// each node, with an incarnation that was never used before.
///
/// # Errors
/// If it belongs to a node already, has other files in it, or the disk refuses.
pub fn format(
    disk: &dyn Disk,
    folder: &Path,
    owner: &Owner,
    incarnation: Incarnation,
) -> Result<Identity, IdentityError> {
    let io = |source| IdentityError::Io { file: folder.to_owned(), source };
    create_durable_dir(disk, folder).map_err(io)?;
    if let Some(Identity { node, cluster, .. }) = read_identity(disk, folder)? {
        return Err(IdentityError::Formatted { folder: folder.to_owned(), node: node.get(), cluster });
    }
    let files = disk.list(folder).map_err(io)?;
    if let Some(found) = files.into_iter().find(|name| lock::is_foreign(name)) {
        return Err(IdentityError::Foreign { folder: folder.to_owned(), found });
    }
    let Owner { cluster, node, shards } = owner.clone();
    let identity = Identity { cluster, node, shards, incarnation };
    write_durably(disk, folder, IDENTITY_FILE, &IdentityToml::from(&identity))?;
    Ok(identity)
}

/// Opens its owner's data folder.
///
/// # Errors
/// If it has no identity, another's, is damaged, or the disk refuses.
pub fn open(disk: Arc<dyn Disk>, folder: &Path, owner: &Owner) -> Result<DataFolder, IdentityError> {
    let missing = || IdentityError::Missing { folder: folder.to_owned(), node: owner.node.get() };
    let identity = read_identity(&*disk, folder)?.ok_or_else(missing)?;
    matches(folder, "cluster", &identity.cluster, &owner.cluster)?;
    matches(folder, "node", &identity.node.get(), &owner.node.get())?;
    matches(folder, "shards", &identity.shards, &owner.shards)?;
    // A name that was given just before the end must not vanish after it has been seen.
    disk.sync_dir(folder).map_err(|source| IdentityError::Io { file: folder.to_owned(), source })?;
    let peers = Mutex::new(read_peers(&*disk, folder)?);
    Ok(DataFolder { disk, path: folder.to_owned(), identity, peers })
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
        write_durably(&*self.disk, &self.path, PEERS_FILE, &PeersToml::from(&grown)).map_err(io::Error::other)?;
        *peers = grown;
        Ok(())
    }
}

impl fmt::Debug for DataFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataFolder").field("path", &self.path).field("identity", &self.identity).finish_non_exhaustive()
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

fn read_identity(disk: &dyn Disk, folder: &Path) -> Result<Option<Identity>, IdentityError> {
    let file = folder.join(IDENTITY_FILE);
    let Some(stored) = read_toml::<IdentityToml>(disk, &file, |stored| stored.format)? else { return Ok(None) };
    let damaged = |problem: &str| IdentityError::Damaged { file: file.clone(), problem: problem.to_owned() };
    let incarnation =
        parse_hex(&stored.incarnation).ok_or_else(|| damaged("`incarnation` is not 32 hexadecimal digits"))?;
    if stored.node == 0 {
        return Err(damaged("`node` is 0"));
    }
    Ok(Some(Identity { cluster: stored.cluster, node: NodeId(stored.node), shards: stored.shards, incarnation }))
}

fn read_peers(disk: &dyn Disk, folder: &Path) -> Result<BTreeMap<NodeId, Incarnation>, IdentityError> {
    let file = folder.join(PEERS_FILE);
    let Some(stored) = read_toml::<PeersToml>(disk, &file, |stored| stored.format)? else { return Ok(BTreeMap::new()) };
    let pairs = stored.incarnations.iter().map(|(node, known)| {
        let pair = node.parse().ok().map(NodeId).zip(parse_hex(known));
        let problem = format!("`{node} = {known:?}` is no node and incarnation");
        pair.ok_or_else(|| IdentityError::Damaged { file: file.clone(), problem })
    });
    pairs.collect()
}

fn read_toml<T: for<'a> Deserialize<'a>>(
    disk: &dyn Disk,
    file: &Path,
    version: fn(&T) -> u32,
) -> Result<Option<T>, IdentityError> {
    let damaged = |problem: String| IdentityError::Damaged { file: file.to_owned(), problem };
    let bytes = match read_small(disk, file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|source| IdentityError::Io { file: file.to_owned(), source })?,
    };
    let text = String::from_utf8(bytes).map_err(|_| damaged("it is not text".into()))?;
    let text = checked(&text).map_err(damaged)?;
    let stored: T = toml::from_str(text).map_err(|error| damaged(error.message().to_owned()))?;
    match version(&stored) {
        FORMAT => Ok(Some(stored)),
        other => Err(damaged(format!("it has format {other}, and this build reads format {FORMAT}"))),
    }
}

/// What stands before the checksum, if that is right.
fn checked(text: &str) -> Result<&str, String> {
    let place = text.rfind(CHECKSUM).ok_or("its last line, with the checksum, is missing")?;
    let (content, line) = text.split_at(place);
    if line == checksum_line(content) { Ok(content) } else { Err("its checksum is wrong".into()) }
}

fn checksum_line(content: &str) -> String {
    format!("{CHECKSUM}{:08x}\n", crc32fast::hash(content.as_bytes()))
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

fn write_durably(disk: &dyn Disk, folder: &Path, name: &str, content: &impl Serialize) -> Result<(), IdentityError> {
    let io = |source| IdentityError::Io { file: folder.join(name), source };
    let text = toml::to_string(content).map_err(|error| io(io::Error::other(error)))?;
    let line = checksum_line(&text);
    replace_small(disk, folder, name, (text + &line).as_bytes()).map_err(io)
}

#[cfg(test)]
mod tests;
