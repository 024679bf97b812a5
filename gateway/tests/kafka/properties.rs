//! Which settings of `[kafka]` are taken, and what is said of others.

use std::path::Path;

use doorbuster_gateway::GatewayConfig;
use doorbuster_gateway::config::KafkaConfig;
use doorbuster_gateway::events::{EventMetrics, Publisher};
use doorbuster_gateway::orders::OrderStore;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;

fn begin(config: &KafkaConfig) -> Result<Publisher, String> {
    let orders = OrderStore::open("sqlite::memory:").unwrap();
    let metrics = EventMetrics::new(&PrometheusBuilder::new().build_recorder());
    Publisher::new(config, "blue", &orders, metrics).map_err(|error| error.to_string())
}

fn with(properties: &[(&str, &str)]) -> KafkaConfig {
    KafkaConfig {
        brokers: vec!["127.0.0.1:9".into()],
        topic: "orders".into(),
        properties: properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..KafkaConfig::default()
    }
}

#[tokio::test]
async fn what_the_client_does_not_take_is_named() {
    for (name, value) in [
        ("no.such.property", "1"),
        ("linger.ms", "soon"),
        ("compression.type", "none of these"),
        ("security.protocol", "ssl"), // this build has no TLS
        ("max.in.flight", "6"),       // not with an idempotent producer
    ] {
        let error = begin(&with(&[(name, value)])).err().unwrap_or_else(|| panic!("{name} is taken"));
        assert!(error.contains("kafka.properties") && error.contains(name), "{error}");
    }
    begin(&with(&[("linger.ms", "20"), ("compression.type", "lz4"), ("client.id", "shop")])).map(drop).unwrap();
}

#[tokio::test]
async fn secrets_come_from_files_and_are_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "hunter2\n").unwrap();
    let mut config =
        with(&[("security.protocol", "sasl_plaintext"), ("sasl.mechanisms", "PLAIN"), ("sasl.username", "shop")]);
    config.secret_files.insert("sasl.password".into(), path.clone());
    begin(&config).map(drop).unwrap();

    config.secret_files.insert("ssl.key.password.wrong".into(), path);
    let error = begin(&config).err().unwrap();
    assert!(error.contains("ssl.key.password.wrong") && !error.contains("hunter2"), "{error}");

    let mut config = with(&[]);
    config.secret_files.insert("sasl.password".into(), folder.path().join("none"));
    assert!(begin(&config).err().unwrap().contains("none"));
    let mut config = with(&[]);
    config.secret_envs.insert("sasl.password".into(), "DOORBUSTER_TEST_IS_NOT_SET".into());
    assert!(begin(&config).err().unwrap().contains("DOORBUSTER_TEST_IS_NOT_SET"));
}

type Spoil = fn(&mut KafkaConfig);

#[test]
fn each_field_is_checked() {
    let publishing = || GatewayConfig { kafka: Some(with(&[])), insecure_dev: true, ..GatewayConfig::default() };
    publishing().validate().unwrap();
    let table: &[(&str, &str, Spoil)] = &[
        ("kafka.brokers", "[]", |kafka| kafka.brokers.clear()),
        ("kafka.brokers", "host", |kafka| kafka.brokers.push("host".into())),
        ("kafka.topic", "", |kafka| kafka.topic.clear()),
        ("kafka.topic", "..", |kafka| kafka.topic = "..".into()),
        ("kafka.topic", "a b", |kafka| kafka.topic = "a b".into()),
        ("kafka.properties", "acks", |kafka| kafka.properties = with(&[("acks", "1")]).properties),
        ("kafka.properties", "sasl.password", |kafka| {
            kafka.properties = with(&[("sasl.password", "hunter2")]).properties;
        }),
        ("kafka.properties", "enable.idempotence", |kafka| {
            kafka.secret_envs.insert("enable.idempotence".into(), "NO".into());
        }),
        ("kafka.secret_files", "sasl.username", |kafka| {
            kafka.properties = with(&[("sasl.username", "shop")]).properties;
            kafka.secret_files.insert("sasl.username".into(), "name".into());
        }),
    ];
    for (name, value, spoil) in table {
        let mut config = publishing();
        spoil(config.kafka.as_mut().unwrap());
        let error = config.validate().unwrap_err().to_string();
        assert!(error.starts_with(&format!("configuration: {name} = {value}: ")), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let nowhere = GatewayConfig { database: String::new(), ..publishing() }.validate().unwrap_err().to_string();
    assert!(nowhere.starts_with("configuration: database = "), "{nowhere}");
}

#[test]
fn it_is_read_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    let text = "insecure_dev = true\n[kafka]\nbrokers = ['a:1', 'b:2']\ntopic = 'orders'\n\
                [kafka.properties]\n'linger.ms' = '20'\n[kafka.secret_files]\n'sasl.password' = 'here'\n";
    std::fs::write(&path, text).unwrap();
    let kafka = GatewayConfig::load(Some(&path), json!({})).unwrap().kafka.unwrap();
    assert_eq!((kafka.brokers.len(), kafka.topic.as_str()), (2, "orders"));
    assert_eq!(kafka.properties["linger.ms"], "20");
    assert_eq!(kafka.secret_files["sasl.password"], Path::new("here"));
    std::fs::write(&path, text.replace("topic", "topics")).unwrap();
    let error = GatewayConfig::load(Some(&path), json!({})).unwrap_err().to_string();
    assert!(error.contains("topics"), "{error}");
}
