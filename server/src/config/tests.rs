//! Sources and their order, every rule of validation, and the sample file.

use serde_json::json;

use super::*;

/// Serialises what is `Some` only, as a command line does.
fn flags(value: serde_json::Value) -> serde_json::Value {
    value
}

fn problems(change: impl FnOnce(&mut ServerConfig)) -> Vec<(&'static str, String)> {
    let mut config = ServerConfig::default();
    change(&mut config);
    match config.validate() {
        Ok(()) => Vec::new(),
        Err(ConfigError::Invalid(invalid)) => invalid.iter().map(|one| (one.field, one.to_string())).collect(),
        Err(other) => panic!("{other}"),
    }
}

fn peer(node: u16) -> Peer {
    Peer { node, peer: format!("10.0.0.{node}:7401"), client: format!("10.0.0.{node}:7400") }
}

#[test]
fn defaults_are_valid_and_a_cluster_of_one() {
    let config = ServerConfig::default();
    config.validate().unwrap();
    assert_eq!(config.nodes(), [NodeId(1)]);
    assert_eq!(config.election_ticks(), 15);
}

#[test]
fn flags_win_over_file_and_file_over_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.toml");
    std::fs::write(
        &path,
        "node = 2\nshards = 4\ndurability = 'memory'\n[[peers]]\nnode = 1\npeer = 'a:1'\nclient = 'a:2'\n",
    )
    .unwrap();
    let config = ServerConfig::load(Some(&path), flags(json!({ "shards": 16 }))).unwrap();
    assert_eq!((config.node, config.shards, config.durability), (2, 16, Durability::Memory));
    assert_eq!(config.peers, [Peer { node: 1, peer: "a:1".into(), client: "a:2".into() }]);
    assert_eq!(config.cluster, "doorbuster");
}

#[test]
fn what_is_not_a_field_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.toml");
    std::fs::write(&path, "shard = 4\n").unwrap();
    let error = ServerConfig::load(Some(&path), flags(json!({}))).unwrap_err().to_string();
    assert!(error.contains("shard") && error.contains("server.toml"), "{error}");
    std::fs::write(&path, "shards = 'many'\n").unwrap();
    let error = ServerConfig::load(Some(&path), flags(json!({}))).unwrap_err().to_string();
    assert!(error.contains("shards") && error.contains("many"), "{error}");
    let error = ServerConfig::load(Some(&folder.path().join("none.toml")), flags(json!({}))).unwrap_err().to_string();
    assert!(error.contains("there is no file"), "{error}");
}

#[test]
fn every_rule_names_its_field_and_a_fix() {
    type Change = fn(&mut ServerConfig);
    let table: &[(&str, &str, Change)] = &[
        ("node", "between 1 and", |c| c.node = 0),
        ("shards", "between 1 and 256", |c| c.shards = 257),
        ("shard_threads", "between 1 and 64", |c| c.shard_threads = 0),
        ("tick_ms", "between 1 and 1000", |c| c.tick_ms = 0),
        ("election_ms", "between 200 and", |c| c.election_ms = 199),
        ("snapshot_entries", "between 100 and", |c| c.snapshot_entries = 1),
        ("snapshot_bytes", "between 65536 and", |c| c.snapshot_bytes = 1),
        ("snapshot_spacing_ms", "between 0 and 3600000", |c| c.snapshot_spacing_ms = 3_600_001),
        ("segment_bytes", "between 1048576 and", |c| c.segment_bytes = 4096),
        ("max_connections", "between 1 and", |c| c.max_connections = 0),
        ("inbox", "between 1024 and", |c| c.inbox = 10),
        ("max_batch", "between 1 and 4096", |c| c.max_batch = 0),
        ("max_feed", "between 1 and", |c| c.max_feed = 0),
        ("default_wait_ms", "between 10 and 60000", |c| c.default_wait_ms = 60_001),
        ("handshake_ms", "between 100 and", |c| c.handshake_ms = 0),
        ("shutdown_ms", "between 0 and", |c| c.shutdown_ms = u64::MAX),
        ("sync_delay_us", "between 0 and", |c| c.sync_delay_us = u64::MAX),
        ("cluster", "1 to 64 ASCII", |c| c.cluster = "my shop".into()),
        ("cluster", "1 to 64 ASCII", |c| c.cluster = String::new()),
        ("data", "name the folder", |c| c.data = PathBuf::new()),
        ("log_level", "such as `info`", |c| c.log_level = "server=loud".into()),
        ("advertise", "host:port", |c| c.advertise = Some("shop.example".into())),
        ("peers", "1, 3 or 5", |c| c.peers = vec![peer(2)]),
        ("peers", "1, 3 or 5", |c| c.peers = (2..=7).map(peer).collect()),
        ("peers", "one entry", |c| c.peers = vec![peer(1), peer(2), peer(3), peer(2)]),
        ("peers", "from 1", |c| c.peers = vec![peer(0), peer(2)]),
        ("peers", "host:port", |c| c.peers = vec![peer(2), Peer { peer: "x".into(), ..peer(3) }]),
        ("peers", "host:port", |c| c.peers = vec![peer(2), Peer { client: "x:0".into(), ..peer(3) }]),
        ("listen", "credential_file", |c| c.listen = ([0, 0, 0, 0], 7400).into()),
        ("peer_listen", "peer_credential_file", |c| c.peer_listen = ([10, 0, 0, 1], 7401).into()),
        ("peer_listen", "another port", |c| c.peer_listen = c.listen),
        ("admin_listen", "another port", |c| c.admin_listen = c.peer_listen),
    ];
    for (field, fix, change) in table {
        let found = problems(change);
        assert_eq!(found.len(), 1, "{field}: {found:?}");
        assert_eq!(found[0].0, *field);
        assert!(found[0].1.contains(fix), "{field}: no {fix:?} in {:?}", found[0].1);
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let found = problems(|c| (c.node, c.shards, c.tick_ms) = (0, 0, 0));
    assert_eq!(found.iter().map(|(field, _)| *field).collect::<Vec<_>>(), ["node", "shards", "tick_ms"]);
}

#[test]
fn credentials_allow_to_be_reached() {
    let found = problems(|c| {
        c.listen = ([0, 0, 0, 0], 7400).into();
        c.credential = Some(Secret::new("0123456789abcdef"));
        c.peer_listen = ([0, 0, 0, 0], 7401).into();
        c.peer_credential_file = Some("peers.secret".into());
    });
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn the_same_list_of_nodes_serves_every_node() {
    let config = ServerConfig { node: 2, peers: (1..=3).map(peer).collect(), ..ServerConfig::default() };
    config.validate().unwrap();
    assert_eq!(config.nodes(), [NodeId(1), NodeId(2), NodeId(3)]);
    assert_eq!(config.others().map(|peer| peer.node).collect::<Vec<_>>(), [1, 3]);
    let bound = ([127, 0, 0, 1], 4711).into();
    let addresses =
        |config: &ServerConfig| config.client_addresses(bound).into_iter().map(|a| a.address).collect::<Vec<_>>();
    assert_eq!(addresses(&config), ["10.0.0.1:7400", "10.0.0.2:7400", "10.0.0.3:7400"]);
    let without_itself = ServerConfig { peers: vec![peer(1), peer(3)], ..config.clone() };
    assert_eq!(addresses(&without_itself), ["10.0.0.1:7400", "127.0.0.1:4711", "10.0.0.3:7400"]);
    let advertised = ServerConfig { advertise: Some("shop:1".into()), ..config };
    assert_eq!(addresses(&advertised), ["10.0.0.1:7400", "shop:1", "10.0.0.3:7400"]);
}

/// `deploy/server.toml` is made from the structure's own documentation: run this test with `DOORBUSTER_WRITE_SAMPLE=1`
/// after changing a field.
#[test]
fn the_sample_file_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/server.toml");
    let sample = sample();
    if std::env::var_os("DOORBUSTER_WRITE_SAMPLE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &sample).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap();
    assert_eq!(stored, sample, "run this test with DOORBUSTER_WRITE_SAMPLE=1");
}

#[test]
fn the_sample_file_shows_the_defaults() {
    let uncommented: String = sample()
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| !line.starts_with(' ') && line.contains(" = "))
        .map(|line| format!("{line}\n"))
        .collect();
    let shown: ServerConfig = toml::from_str(&uncommented).unwrap();
    let expected = ServerConfig {
        advertise: Some("shop-1.example:7400".into()),
        credential_file: Some("/etc/doorbuster/credentials".into()),
        credential: Some(Secret::new("")),
        peer_credential_file: Some("/etc/doorbuster/peer-credentials".into()),
        peer_credential: Some(Secret::new("")),
        ..ServerConfig::default()
    };
    assert_eq!(shown, expected);
}

/// Each field's documentation as comments, above the field with its default, commented out.
fn sample() -> String {
    let source = include_str!("../config.rs");
    let (_, body) = source.split_once("pub struct ServerConfig {\n").unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let defaults = toml::Table::try_from(ServerConfig::default()).unwrap();
    let mut sample = String::from(
        "# Configuration of `doorbuster server --config FILE`. Every field, with its default commented out.\n\
         # DOORBUSTER_SERVER_NODE=2 in the environment, or --node 2 on the command line, win over this file.\n",
    );
    for line in body.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("///") {
            let begins = !sample.ends_with('\n') || sample.lines().last().is_some_and(|last| !last.starts_with("# "));
            sample += if begins || sample.lines().count() == 2 { "\n" } else { "" };
            sample += &format!("#{comment}\n");
        } else if let Some((name, _)) = line.strip_prefix("pub ").and_then(|field| field.split_once(':')) {
            sample += &format!("#{name} = {}\n", default_of(name, &defaults));
        }
    }
    sample
}

fn default_of(name: &str, defaults: &toml::Table) -> String {
    match name {
        "advertise" => "\"shop-1.example:7400\"".into(),
        "credential_file" => "\"/etc/doorbuster/credentials\"".into(),
        "peer_credential_file" => "\"/etc/doorbuster/peer-credentials\"".into(),
        "credential" | "peer_credential" => "\"\"".into(),
        _ => defaults[name].to_string(),
    }
}
