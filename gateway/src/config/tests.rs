//! Where settings come from, and which are refused.

use serde_json::json;

use super::*;

/// A configuration that is fine, to be spoilt.
fn fine() -> GatewayConfig {
    let mut config = GatewayConfig::default();
    config.auth.keys = vec![KeyConfig { secret_env: Some("SECRET".into()), ..KeyConfig::default() }];
    config
}

#[test]
fn the_sample_is_the_defaults_and_a_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/gateway.toml");
    let mut sample = GatewayConfig::load(Some(&path), json!({})).unwrap();
    assert_eq!(sample.auth.keys.len(), 1);
    sample.auth.keys.clear();
    assert_eq!(format!("{sample:?}"), format!("{:?}", GatewayConfig::default()));
}

#[test]
fn every_field_is_in_the_sample() {
    let sample = include_str!("../../../deploy/gateway.toml");
    let mut all = GatewayConfig::default();
    all.auth.keys = vec![KeyConfig::default()];
    all.payment.stripe.accounts = vec![AccountConfig::default()];
    all.kafka = Some(KafkaConfig::default());
    let serde_json::Value::Object(fields) = json!(all) else { unreachable!("a structure is an object") };
    let mut missing = Vec::new();
    names(&fields, &mut |name| {
        if !sample.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{name} ="))) {
            missing.push(name.to_owned());
        }
    });
    // Said in words beside their siblings.
    missing.retain(|name| !["secret_env", "public_key_env", "key_env"].contains(&name.as_str()));
    assert_eq!(missing, Vec::<String>::new());
}

fn names(fields: &serde_json::Map<String, serde_json::Value>, found: &mut dyn FnMut(&str)) {
    for (name, value) in fields {
        match value {
            serde_json::Value::Object(inner) => names(inner, found),
            serde_json::Value::Array(list) if list.first().is_some_and(serde_json::Value::is_object) => {
                list.iter().filter_map(|item| item.as_object()).for_each(|inner| names(inner, found));
            }
            _ => found(name),
        }
    }
}

#[test]
fn the_overlay_goes_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    let text = "listen = '127.0.0.1:1'\ncluster = 'blue'\ninsecure_dev = true\n[limits]\naddress_per_second = 7\n";
    std::fs::write(&path, text).unwrap();
    let overlay = json!({ "listen": "127.0.0.1:2", "limits": { "address_burst": 9 } });
    let config = GatewayConfig::load(Some(&path), overlay).unwrap();
    assert_eq!((config.listen.as_str(), config.cluster.as_str()), ("127.0.0.1:2", "blue"));
    assert_eq!((config.limits.address_per_second, config.limits.address_burst), (7, 9));
}

#[test]
fn what_does_not_fit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    for (text, says) in [
        ("listne = '127.0.0.1:1'", "listne"),
        ("[limits]\naddress_per_second = 'many'", "address_per_second"),
        ("[[auth.keys]]\nalgorithm = 'none'", "none"),
        ("listen = ", "TOML"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = GatewayConfig::load(Some(&path), json!({})).unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    let missing = GatewayConfig::load(Some(&folder.path().join("none.toml")), json!({})).unwrap_err();
    assert!(missing.to_string().contains("none.toml"), "{missing}");
}

type Spoil = fn(&mut GatewayConfig);

#[test]
fn each_field_is_checked() {
    fine().validate().unwrap();
    let table: &[(&str, Spoil)] = &[
        ("listen", |config| config.listen = "localhost".into()),
        ("nodes", |config| config.nodes.clear()),
        ("nodes", |config| config.nodes = vec!["host".into()]),
        ("cluster", |config| config.cluster = String::new()),
        ("cluster", |config| config.cluster = "x".repeat(65)),
        ("credential_env", |config| {
            config.credential_env = Some("A".into());
            config.credential_file = Some("b".into());
        }),
        ("connections_per_node", |config| config.connections_per_node = 0),
        ("deadline_ms", |config| config.deadline_ms = 60_001),
        ("database", |config| config.database = "mysql://x".into()),
        ("insecure_dev", |config| config.insecure_dev = true),
        ("insecure_dev", |config| {
            config.insecure_dev = true;
            config.auth.keys.clear();
            config.listen = "0.0.0.0:8080".into();
        }),
        ("trusted_proxies", |config| config.trusted_proxies = vec!["10.0.0.0/33".into()]),
        ("metrics_from", |config| config.metrics_from = vec!["all".into()]),
        ("drain_ms", |config| config.drain_ms = 600_001),
        ("http.max_connections", |config| config.http.max_connections = 0),
        ("http.max_in_flight", |config| config.http.max_in_flight = 0),
        ("http.head_timeout_ms", |config| config.http.head_timeout_ms = 99),
        ("http.body_timeout_ms", |config| config.http.body_timeout_ms = 0),
        ("http.max_body_bytes", |config| config.http.max_body_bytes = 1 << 21),
        ("http.max_head_bytes", |config| config.http.max_head_bytes = 100),
        ("http.max_headers", |config| config.http.max_headers = 1),
        ("limits.address_burst", |config| config.limits.address_burst = 0),
        ("limits.addresses", |config| config.limits.addresses = 1),
        ("limits.global_burst", |config| config.limits.global_burst = 0),
        ("limits.exempt", |config| config.limits.exempt = vec!["x".into()]),
        ("auth.keys", |config| config.auth.keys.clear()),
        ("auth.keys", |config| config.auth.keys = vec![KeyConfig::default()]),
        ("auth.keys", |config| config.auth.keys[0].secret_file = Some("two sources".into())),
        ("auth.keys", |config| config.auth.keys[0].algorithm = KeyAlgorithm::RS256),
        ("auth.keys (how many)", |config| config.auth.keys = vec![config.auth.keys[0].clone(); 17]),
        ("auth.leeway_seconds", |config| config.auth.leeway_seconds = 301),
        ("payment.max_in_flight", |config| config.payment.max_in_flight = 0),
        ("payment.max_wait_ms", |config| config.payment.max_wait_ms = 60_001),
        ("payment.charge_timeout_ms", |config| config.payment.charge_timeout_ms = 1),
        ("payment.sweep_every_ms", |config| config.payment.sweep_every_ms = 49),
        ("payment.sweep_after_ms", |config| config.payment.sweep_after_ms = 3_600_001),
        ("payment.cancel_within_ms", |config| config.payment.cancel_within_ms = 86_400_001),
        ("payment.webhook_secrets_env", |config| {
            config.payment.webhook_secrets_env = Some("A".into());
            config.payment.webhook_secrets_file = Some("b".into());
        }),
        ("database", |config| {
            config.payment.webhook_secrets_env = Some("A".into());
            config.database = String::new();
        }),
        ("payment.simulator.url", |config| config.payment.simulator.url = "https://127.0.0.1:1".into()),
        ("payment.simulator.max_latency_ms", |config| config.payment.simulator.max_latency_ms = 1),
        ("payment.simulator.decline_rate", |config| config.payment.simulator.decline_rate = 1.1),
        ("payment.simulator.decline_rate", |config| config.payment.simulator.decline_rate = f64::NAN),
    ];
    refuses(&fine(), table);
}

#[test]
fn an_account_that_takes_money_is_checked() {
    let mut paid = fine();
    let account = AccountConfig { name: "main".into(), key_env: Some("KEY".into()), ..AccountConfig::default() };
    paid.payment.provider = Provider::Stripe;
    paid.payment.stripe.accounts = vec![account];
    paid.validate().unwrap();
    let table: &[(&str, Spoil)] = &[
        ("payment.stripe.accounts", |config| config.payment.stripe.accounts.clear()),
        ("payment.stripe.accounts (how many)", |config| {
            config.payment.stripe.accounts = vec![config.payment.stripe.accounts[0].clone(); 17];
        }),
        ("payment.stripe.accounts.name", |config| {
            config.payment.stripe.accounts = vec![config.payment.stripe.accounts[0].clone(); 2];
        }),
        ("payment.stripe.accounts.requests_per_second", |config| {
            config.payment.stripe.accounts[0].requests_per_second = 0;
        }),
        ("payment.stripe.accounts.from", |config| {
            config.payment.stripe.accounts[0].from = Some("noon".into());
        }),
        ("payment.stripe.accounts.until", |config| {
            config.payment.stripe.accounts[0].until = Some("2026-11-27T12:00:00Z".into());
        }),
        ("payment.stripe.accounts.until", |config| {
            config.payment.stripe.accounts[0].from = Some("2026-11-27T12:00:00Z".into());
            config.payment.stripe.accounts[0].until = Some("2026-11-27T12:00:00Z".into());
        }),
        ("payment.stripe.accounts.name", |config| {
            config.payment.stripe.accounts[0].name = "two words".into();
        }),
        ("payment.stripe.accounts", |config| {
            config.payment.stripe.accounts[0].key_file = Some("two sources".into());
        }),
    ];
    refuses(&paid, table);
}

fn refuses(fine: &GatewayConfig, table: &[(&str, Spoil)]) {
    for (name, spoil) in table {
        let mut config = fine.clone();
        spoil(&mut config);
        match config.validate() {
            Err(ConfigError::Field { field, .. }) => assert_eq!(field, *name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn networks_may_be_single_addresses() {
    let list = ["10.0.0.0/8", "192.0.2.1", "fd00::/8", "::1"].map(String::from);
    let parsed = networks("trusted_proxies", &list).unwrap();
    assert_eq!(parsed.iter().map(IpNet::prefix_len).collect::<Vec<_>>(), [8, 32, 8, 128]);
}

#[cfg(not(feature = "kafka"))]
#[test]
fn a_build_without_kafka_says_so() {
    let mut config = fine();
    config.kafka =
        Some(KafkaConfig { brokers: vec!["host:9092".into()], topic: "orders".into(), ..Default::default() });
    let error = config.validate().unwrap_err().to_string();
    assert!(
        error.contains("kafka = set: this build cannot publish events") && error.contains("--features kafka"),
        "{error}"
    );
}
