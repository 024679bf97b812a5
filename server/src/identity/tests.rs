//! Every way in which a data folder can be the wrong one.

use std::fs;

use doorbuster_raft::disk::RealDisk;

use super::lock::FolderLock;
use super::*;
use crate::config::ServerConfig;

fn config(folder: &Path) -> ServerConfig {
    ServerConfig { data: folder.join("node-2"), node: 2, ..ServerConfig::default() }
}

/// As the server does it: everything behind the lock.
fn format(config: &ServerConfig) -> Result<Identity, IdentityError> {
    lock::prepare(&config.data)?;
    let _lock = FolderLock::take(&config.data)?;
    let incarnation = Incarnation(crate::entropy::random_bytes().unwrap());
    super::format(&RealDisk, &config.data, &config.settings().owner(), incarnation)
}

fn open(config: &ServerConfig) -> Result<DataFolder, IdentityError> {
    super::open(Arc::new(RealDisk), &config.data, &config.settings().owner())
}

#[test]
fn formatted_once_opened_ever_after() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let formatted = format(&config).unwrap();
    for _ in 0..2 {
        let opened = open(&config).unwrap();
        assert_eq!(*opened.identity(), formatted);
        assert_eq!(opened.path(), config.data);
    }
    assert_eq!((formatted.cluster.as_str(), formatted.node, formatted.shards), ("doorbuster", NodeId(2), 8));
}

#[test]
fn each_format_is_a_new_life() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let first = format(&config).unwrap();
    fs::remove_dir_all(&config.data).unwrap();
    assert_ne!(first.incarnation, format(&config).unwrap().incarnation);
}

#[test]
fn an_empty_folder_does_not_come_back_as_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    for make in [false, true] {
        if make {
            fs::create_dir(&config.data).unwrap();
        }
        let error = open(&config).unwrap_err().to_string();
        assert!(error.starts_with("node 2 has no data in "), "{error}");
        assert!(error.contains("doorbuster server format"), "{error}");
        assert!(error.contains("must not come back as node 2"), "{error}");
    }
}

#[test]
fn a_folder_is_not_formatted_over() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    format(&config).unwrap();
    assert!(matches!(format(&config), Err(IdentityError::Formatted { node: 2, .. })));
    let foreign = ServerConfig { data: folder.path().to_owned(), ..config };
    let error = format(&foreign).unwrap_err();
    assert!(matches!(&error, IdentityError::Foreign { found, .. } if found == "node-2"), "{error}");
}

#[test]
fn an_interrupted_format_can_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    fs::create_dir(&config.data).unwrap();
    fs::write(config.data.join("identity.toml.new"), "format = ").unwrap();
    assert!(matches!(open(&config), Err(IdentityError::Missing { .. })));
    format(&config).unwrap();
    open(&config).unwrap();
}

#[test]
fn another_nodes_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let right = config(folder.path());
    format(&right).unwrap();
    let wrong: [(&str, ServerConfig); 3] = [
        ("node = 2, but the configuration says 3", ServerConfig { node: 3, ..right.clone() }),
        (
            "cluster = doorbuster, but the configuration says shop",
            ServerConfig { cluster: "shop".into(), ..right.clone() },
        ),
        ("shards = 8, but the configuration says 4", ServerConfig { shards: 4, ..right.clone() }),
    ];
    for (expected, wrong) in wrong {
        let error = open(&wrong).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    open(&right).unwrap();
}

#[test]
fn a_folder_is_locked_by_one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    format(&config).unwrap();
    let first = FolderLock::take(&config.data).unwrap();
    assert!(matches!(FolderLock::take(&config.data), Err(IdentityError::InUse { .. })));
    assert!(matches!(format(&config), Err(IdentityError::InUse { .. })));
    drop(first);
    FolderLock::take(&config.data).unwrap();
}

#[test]
fn damage_is_named_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    format(&config).unwrap();
    let identity = config.data.join(IDENTITY_FILE);
    let good = fs::read_to_string(&identity).unwrap();
    let sealed = |text: &str| text.to_owned() + &checksum_line(text);
    let content = checked(&good).unwrap();
    for (content, expected) in [
        (content.replace("format = 1", "format = 2"), "reads format 1"),
        (content.replace("node = 2", "node = 0"), "`node` is 0"),
        (content.replace("incarnation = \"", "incarnation = \"zz"), "32 hexadecimal digits"),
        (content.replace("shards", "chards"), "chards"),
    ] {
        fs::write(&identity, sealed(&content)).unwrap();
        let error = open(&config).unwrap_err();
        assert!(matches!(error, IdentityError::Damaged { .. }), "{content}: {error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let table = [
        (good.replace("node = 2", "node = 3"), "its checksum is wrong"),
        (good.replace("incarnation = \"", "incarnation = \"0"), "its checksum is wrong"),
        (good.replace("# crc32 ", ""), "its last line, with the checksum, is missing"),
        (good[..good.len() - 1].to_owned(), "its checksum is wrong"),
        (good[..good.len() / 2].to_owned(), "identity.toml"),
        (String::new(), "identity.toml"),
    ];
    for (text, expected) in table {
        fs::write(&identity, &text).unwrap();
        let error = open(&config).unwrap_err();
        assert!(matches!(error, IdentityError::Damaged { .. }), "{text}: {error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    fs::write(&identity, good).unwrap();
    fs::write(config.data.join(PEERS_FILE), sealed("format = 1\n[incarnations]\n3 = \"abc\"\n")).unwrap();
    assert!(matches!(open(&config), Err(IdentityError::Damaged { .. })));
}

#[test]
fn peers_are_remembered_across_starts() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    format(&config).unwrap();
    let (one, other) = (Incarnation([1; 16]), Incarnation([0xfe; 16]));
    let opened = open(&config).unwrap();
    assert_eq!(opened.known_peer(NodeId(1)), None);
    opened.remember_peer(NodeId(1), one).unwrap();
    opened.remember_peer(NodeId(1), one).unwrap();
    opened.remember_peer(NodeId(3), other).unwrap();
    drop(opened);
    let opened = open(&config).unwrap();
    assert_eq!((opened.known_peer(NodeId(1)), opened.known_peer(NodeId(3))), (Some(one), Some(other)));
    let error = opened.remember_peer(NodeId(1), other).unwrap_err();
    assert!(error.to_string().contains("node 1 was met as incarnation 0101"), "{error}");
    assert_eq!(opened.known_peer(NodeId(1)), Some(one));
}
