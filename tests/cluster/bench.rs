//! `doorbuster bench` as a capacity planner runs it: its figures are of what happened, and nothing is hidden by it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use doorbuster_cli::demo::process::Process;
use doorbuster_tests::binary::binary;
use serde_json::Value;
use tokio::process::Command;

use crate::sale::Sale;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_workload_gets_the_answers_that_it_is_about() {
    for work in ["refuse", "reserve", "confirm", "release"] {
        let prepared: &[&str] = if matches!(work, "confirm" | "release") { &["--prepared", "20000"] } else { &[] };
        let place = ["--spawn", "1", "--durability", "memory", "--connections", "4", "--depth", "16"];
        let report =
            bench(&[&[work], &place[..], prepared, &["--duration", "500ms", "--warm-up", "0ms"]].concat()).await;
        let result = &report["result"];
        assert!(result["measured"].as_u64().is_some_and(|count| count >= 1000), "{work}: {report:#}");
        assert_eq!(result["other_answers"], Value::Object(serde_json::Map::new()), "{work}");
        let (p50, max) = (result["latency_us"]["p50"].as_f64(), result["latency_us"]["max"].as_f64());
        assert!(p50.is_some_and(|p50| p50 > 0.0) && p50 <= max, "{work}: {report:#}");
        let full = report["processors"]["full"].as_str().unwrap_or_default();
        assert!(["neither", "servers", "generator", "both", "machine"].contains(&full), "{work}: {report:#}");
        assert!(report["processors"]["servers_share"].as_f64().is_some_and(|share| share > 0.0), "{work}: {report:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_ask_through_the_client_library() {
    for work in [&["refuse"][..], &["reserve"], &["confirm", "--prepared", "20000"]] {
        let place = ["--spawn", "1", "--durability", "memory", "--callers", "6", "--threads", "2"];
        let report = bench(&[work, &place[..], &["--duration", "500ms", "--warm-up", "100ms"]].concat()).await;
        let result = &report["result"];
        assert!(result["measured"].as_u64().is_some_and(|count| count >= 100), "{work:?}: {report:#}");
        assert_eq!(result["other_answers"], Value::Object(serde_json::Map::new()), "{work:?}");
        assert_eq!((&report["settings"]["callers"], &report["settings"]["connections"]), (&6.into(), &Value::Null));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_is_compared_with_a_bare_server() {
    let place = ["http", "--spawn", "1", "--durability", "memory", "--connections", "8", "--gateway-cpus", "0"];
    let report = bench(&[&place[..], &["--duration", "1500ms", "--warm-up", "200ms"]].concat()).await;
    let (http, result) = (&report["http"], &report["result"]);
    assert_eq!(result["other_answers"], Value::Object(serde_json::Map::new()), "{report:#}");
    let rate = |field: &str| http[field].as_f64().unwrap_or_default();
    assert!(rate("gateway_per_second") > 50.0 && rate("hyper_per_second") > rate("gateway_per_second"), "{report:#}");
    assert!((0.01..1.0).contains(&rate("ratio")), "{report:#}");
    let turns = |field: &str| http[field].as_array().map_or(0, Vec::len);
    assert_eq!((turns("gateway_turns"), turns("hyper_turns")), (5, 5), "{report:#}");
    assert!(result["measured"].as_u64().is_some_and(|count| count > 50), "{report:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_sells_what_its_buyers_heard() {
    let sale =
        ["sale", "--spawn", "1", "--durability", "memory", "--stock", "400", "--ttl", "500ms", "--think", "20ms"];
    let report = bench(&[&sale[..], &["--rate", "2000", "--duration", "3s", "--warm-up", "0ms"]].concat()).await;
    let (sale, kinds) = (&report["sale"], &report["result"]["kinds"]);
    let count = |of: &Value| of.as_u64().unwrap_or_default();
    assert_eq!((&sale["stock"], &sale["fits"], &sale["sold"]), (&400.into(), &true.into(), &sale["confirmed"]));
    assert_eq!(count(&sale["sold"]) + count(&sale["available"]), 400, "{report:#}");
    assert!(count(&sale["granted"]) > count(&sale["sold"]) && count(&sale["sold"]) > 100, "{report:#}");
    for kind in ["granted", "payment_begun", "confirmed", "released", "all_held"] {
        assert!(count(&kinds[kind]["measured"]) > 0, "{kind}: {report:#}");
    }
    let apart: u64 = kinds.as_object().into_iter().flatten().map(|(_, kind)| count(&kind["measured"])).sum();
    assert_eq!(apart, count(&report["result"]["measured"]), "{report:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_reservations_tell_the_memory_that_they_take() {
    let load = ["--live", "100000", "--rate", "200", "--duration", "500ms", "--warm-up", "0ms"];
    let report = bench(&[&["reserve", "--spawn", "1", "--durability", "memory"], &load[..]].concat()).await;
    let live = &report["live"];
    let number = |field: &str| live[field].as_f64().unwrap_or_default();
    assert_eq!(live["reservations"], 100_000, "{report:#}");
    assert!(number("resident_bytes_before") > 1e6 && number("made_per_second") > 0.0, "{report:#}");
    let grown = number("resident_bytes_after") - number("resident_bytes_before");
    assert!((number("bytes_each") - grown / 1e5).abs() < 0.1, "{report:#}");
    // A record and its index alone are more than 76 bytes; buffers that a first load fills weigh more, the fewer there are.
    assert!((76.0..2_000.0).contains(&number("bytes_each")), "{report:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_meanwhile_is_told() {
    let short = ["--durability", "memory", "--duration", "5s", "--warm-up", "200ms"];
    // A busy machine has four seconds to make them, and as long to take them back.
    let storm = [&["expiry-storm", "--spawn", "1", "--due", "3000", "--due-rate", "1000", "--rate", "200"], &short[..]]
        .concat();
    let report = bench(&storm).await;
    let (back, late) = (&report["came_back"], report["came_back"]["last_after_deadline_ms"].as_f64());
    assert_eq!((&back["units"], &report["result"]["measured"]), (&Value::from(3000), &Value::from(1000)), "{report:#}");
    let seconds = back["seconds"].as_f64().unwrap_or_default();
    assert!(seconds >= 0.99, "their deadlines are a second apart: {report:#}");
    assert!(late.is_some_and(|late| (0.0..20_000.0).contains(&late)), "{report:#}");

    let report = bench(&[&["failover", "--spawn", "3", "--rate", "200"], &short[..]].concat()).await;
    assert_eq!(report["result"]["measured"], 1000, "{report:#}");
    assert!(report["killed"]["node"].as_u64().is_some_and(|node| (1..=3).contains(&node)), "{report:#}");
    assert!(report["result"]["latency_us"]["max"].as_f64().is_some_and(|longest| longest > 100_000.0), "{report:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_away_catches_up_under_load() {
    let load = ["--durability", "memory", "--rate", "200", "--duration", "10s", "--warm-up", "0ms"];
    let report = bench(&[&["catch-up", "--spawn", "3", "--missed", "20000"], &load[..]].concat()).await;
    let back = &report["caught_up"];
    let (answered, caught_up) = (back["answered_seconds"].as_f64(), back["caught_up_seconds"].as_f64());
    assert!(answered.is_some_and(|answered| answered > 0.0) && answered <= caught_up, "{report:#}");
    assert!(back["missed_entries"].as_u64().is_some_and(|missed| missed >= 20_000 / 1024), "{report:#}");
    assert_eq!(report["result"]["measured"], 2000, "{report:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_with_snapshots_is_compared_with_one_without() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let page = folder.path().join("page.html").display().to_string();
    let load = ["--live", "20000", "--rate", "1000", "--duration", "6s", "--warm-up", "0ms", "--report", &page];
    let report =
        bench(&[&["snapshot", "--spawn", "3", "--snapshots", "3", "--durability", "memory"], &load[..]].concat()).await;
    let snapshots = &report["snapshots"];
    assert_eq!(snapshots["without"]["taken"], 0, "{report:#}");
    assert!(snapshots["with"]["taken"].as_u64().is_some_and(|taken| taken >= 2), "{report:#}");
    assert!(snapshots["with"]["seconds_each"].as_f64().is_some_and(|seconds| seconds > 0.0), "{report:#}");
    let p999 = |part: &str| snapshots[part]["p999_us"].as_f64().unwrap_or_default();
    let grown = snapshots["p999_growth_ms"].as_f64().unwrap_or(f64::MAX);
    assert!(p999("without") > 0.0 && (p999("with") - p999("without") - grown * 1e3).abs() < 1.0, "{report:#}");
    let grown = snapshots["p999_growth_installing_ms"].as_f64().unwrap_or(f64::MAX);
    assert!((p999("installing") - p999("without") - grown * 1e3).abs() < 1.0, "{report:#}");
    assert!(report["caught_up"]["snapshots_installed"].as_u64().is_some_and(|count| count >= 1), "{report:#}");
    assert_eq!((&report["live"]["reservations"], &report["result"]["measured"]), (&20_000.into(), &6_000.into()));
    let page = std::fs::read_to_string(&page).expect("the page was written");
    assert_eq!(page.matches("<svg").count(), 4, "three plots of the part with snapshots, and the comparison");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_highest_rate_that_meets_an_objective_is_looked_for() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let page = folder.path().join("page.html").display().to_string();
    let search =
        ["reserve", "--spawn", "1", "--durability", "memory", "--find-capacity", "--slo-p99", "500ms", "--rate", "400"];
    let report = bench(&[&search[..], &["--duration", "200ms", "--warm-up", "0ms", "--report", &page]].concat()).await;
    let steps = report["capacity"].as_array().cloned().unwrap_or_default();
    let met =
        |wanted: bool| steps.iter().filter(move |step| step["met"] == wanted).filter_map(|step| step["rate"].as_f64());
    let (best, worst) = (met(true).fold(0.0, f64::max), met(false).fold(f64::MAX, f64::min));
    assert!(best > 0.0 && worst / best <= 1.05, "{report:#}");
    let rate = report["result"]["ops_per_second"].as_f64().unwrap_or_default();
    assert!(rate >= best * 0.97, "the report is not that of the best rate, {best}: {report:#}");
    let page = std::fs::read_to_string(&page).expect("the page was written");
    assert_eq!(page.matches("<svg").count(), 4, "three plots of the best run, and the search's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_loop_measures_all_that_was_due_though_the_leader_is_killed() {
    let sale = Sale::start().await;
    let nodes = sale.cluster.client_addresses().join(",");
    let secret = sale.cluster.credential_file();
    let measured = tokio::spawn({
        let arguments =
            with_cluster(&["reserve", "--rate", "2000", "--duration", "8s"], &nodes, sale.cluster.name(), &secret);
        async move { bench(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await }
    });
    // The bench's product is the newest; its shard's leader goes while it is measured.
    let (leader, count) = loop {
        let products = sale.client.products().await.unwrap_or_default();
        if let Some(product) = products.iter().find(|product| product.spec.name == "bench" && product.held.get() > 5000)
        {
            let shard = doorbuster_protocol::types::shard_of(product.spec.product, sale.client.shards());
            let leader = sale.cluster.leader(&sale.client, shard, Duration::from_secs(10)).await;
            break (leader.expect("it has one"), product.held);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    sale.cluster.kill(leader).expect("it runs");
    let report = measured.await.expect("it ends");
    let result = &report["result"];
    assert_eq!(result["measured"], 16_000, "killed with {count} held: {report:#}");
    assert!(result["connections_lost"].as_u64().is_some_and(|lost| lost > 0), "{report:#}");
    let longest = result["latency_us"]["max"].as_f64().unwrap_or_default();
    assert!(longest > 100_000.0, "an election takes longer than {longest} us: the outage is hidden");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_measured_is_refused_with_the_flag_to_change() {
    for (arguments, named) in [
        (&["reserve", "--spawn", "2"][..], "--spawn 2"),
        (&["reserve", "--spawn", "1", "--threads", "2", "--connections", "1"], "--threads 2"),
        (&["reserve", "--spawn", "1", "--duration", "1ms"], "--duration"),
        (&["reserve", "--spawn", "1", "--server-cpus", "x"], "--server-cpus"),
        (&["reserve", "--spawn", "1", "--server-cpus", "1000"], "1000"),
        (&["reserve", "--depth", "4", "--rate", "5"], "--rate"),
        (&["refuse", "--durability", "memory"], "--spawn"),
        (&["failover", "--spawn", "1"], "--spawn 3"),
        (&["failover", "--spawn", "3", "--find-capacity"], "--find-capacity"),
        (&["catch-up", "--spawn", "1"], "--spawn 3"),
        (&["reserve", "--spawn", "1", "--callers", "4", "--rate", "5"], "--rate"),
        (&["reserve", "--spawn", "1", "--callers", "1", "--threads", "2"], "--callers 2"),
        (&["http"], "--spawn 1"),
        (&["http", "--spawn", "1", "--rate", "5"], "--rate"),
        (&["http", "--spawn", "1", "--depth", "2"], "--depth"),
        (&["http", "--spawn", "1", "--callers", "2"], "--callers"),
        (&["sale", "--spawn", "1", "--pay-share", "80", "--walk-away-share", "30"], "--walk-away-share 30"),
        (&["sale", "--spawn", "1", "--callers", "2"], "--callers"),
        (&["sale", "--spawn", "1", "--find-capacity"], "--find-capacity"),
        (&["snapshot"], "--spawn 1"),
        (&["snapshot", "--spawn", "1", "--find-capacity"], "--find-capacity"),
        (&["catch-up", "--spawn", "3", "--find-capacity"], "--find-capacity"),
        (&["reserve", "--find-capacity", "--depth", "2"], "--depth"),
    ] {
        let output = Command::new(binary()).arg("bench").args(arguments).output().await.expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(named), "{arguments:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_leaves_neither_servers_nor_folders_behind() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().display().to_string();
    let words = ["bench", "reserve", "--spawn", "1", "--duration", "60s", "--rate", "10", "--data", &data];
    let mut bench = Process::start("bench", &binary(), &words.map(str::to_owned), &folder.path().join("log.txt"))
        .expect("the binary runs");
    let cluster = loop {
        let folders = std::fs::read_dir(&data).expect("it is there").filter_map(Result::ok).map(|entry| entry.path());
        let started = folders.into_iter().find(|folder| folder.join("node1/log.txt").is_file());
        if let Some(started) = started {
            break started;
        }
        assert!(bench.ended().is_none(), "it ended by itself");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    bench.interrupt().expect("it runs");
    let ended = async {
        while bench.ended().is_none() || cluster.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("it ends, and its folder goes with it");
    let config = cluster.join("node1/server.toml").display().to_string();
    assert!(!commands().any(|command| command.contains(&config)), "its server still runs");
}

/// What every process of this machine was started with.
fn commands() -> impl Iterator<Item = String> {
    let processes = std::fs::read_dir("/proc").expect("a Linux").filter_map(Result::ok);
    let text =
        |folder: &Path| std::fs::read(folder.join("cmdline")).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    processes.filter_map(move |process| text(&process.path()).ok())
}

/// Runs it to a good end, and returns its report.
async fn bench(arguments: &[&str]) -> Value {
    let mut command = Command::new(binary());
    command.arg("bench").args(arguments).arg("--json").stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(120), command.output()).await;
    let output = output.expect("it ends in time").expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).expect("a JSON document")
}

fn with_cluster(arguments: &[&str], nodes: &str, cluster: &str, secret: &Path) -> Vec<String> {
    let secret = secret.display().to_string();
    let place = ["--nodes", nodes, "--cluster", cluster, "--credential-file", &secret];
    arguments.iter().chain(&place).map(|argument| (*argument).to_owned()).collect()
}
