//! The comparison against the real Valkey and PostgreSQL: what it asks of them does what it says, and what it prints is of all
//! of them. `./test` installs both; without them these tests are left out.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use doorbuster_benches::peers::contest::System;
use doorbuster_benches::peers::lua::Lua;
use doorbuster_benches::peers::sql::{self, Sql};
use doorbuster_benches::peers::valkey::{Plan, Valkey, ask};
use doorbuster_cli::bench::dialect::Dialect;
use doorbuster_cli::bench::generator::{Load, Rhythm};
use doorbuster_cli::bench::recorder::{Recorder, Window};
use doorbuster_cli::bench::work::{Ask, Work};
use doorbuster_cli::clock;
use doorbuster_protocol::types::ProductId;
use doorbuster_tests::binary::binary;
use doorbuster_tests::chaos::postgres::Postgres;
use serde_json::Value;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_script_takes_each_reservation_once_and_a_replica_has_it() {
    let Some(binary) = valkey() else { return };
    for replicas in [0, 2] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let plan = Plan { binary: &binary, on_disk: replicas > 0, replicas, cpus: None };
        let valkey = Valkey::start(plan, folder.path()).await.expect("it starts");
        valkey.put_on_sale(1, 800).await.expect("it takes a product");
        let lua = |refusals, numbers: u64, series| {
            let work = Work::of(Ask::Unit, ProductId(1), series, numbers);
            Lua::new(work, valkey.address().to_owned(), valkey.digest(), 1, refusals, replicas.min(1))
        };
        // The second time under the same ids.
        for _ in 0..2 {
            assert_all_right(&lua(false, 500, 7), 500).await;
            let counted = valkey.count(1).await.expect("it answers");
            assert_eq!(counted, ("300".to_owned(), "500".to_owned()), "{replicas} replicas");
        }
        assert_all_right(&lua(false, 300, 8), 300).await;
        assert_all_right(&lua(true, 100, 9), 100).await;
        assert_eq!(valkey.count(1).await.expect("it answers"), ("0".to_owned(), "800".to_owned()));
        if replicas == 0 {
            let same = |user| ["EVALSHA", valkey.digest(), "3", "s2", "r", "d2", user, "1", "1000"];
            valkey.put_on_sale(2, 5).await.expect("it takes a product");
            let first = ask(valkey.address(), &same("ann")).await.expect("it is granted");
            assert_eq!(ask(valkey.address(), &same("ann")).await.expect("it was granted"), first);
            let other = ask(valkey.address(), &same("bob")).await.expect_err("it is another's").message;
            assert!(other.contains("CONFLICT"), "{other}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_statement_takes_each_reservation_once() {
    let Some(_initdb) = found("initdb", "DOORBUSTER_REQUIRE_POSTGRES") else { return };
    let folder = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .expect("a temporary folder");
    let data = folder.path().join("postgres");
    std::fs::create_dir(&data).expect("the folder takes another");
    let postgres = Postgres::start(&data).await.expect("it starts");
    let address = postgres.address();
    sql::make_tables(&address).await.expect("it takes tables");
    let twice = sql::make_tables(&address).await.expect_err("they are there").message;
    assert!(twice.contains("already exists (42P07)"), "{twice}");
    sql::put_on_sale(&address, 1, 600).await.expect("it takes a product");
    let reserves = |refusals, numbers, series| {
        Sql::new(Work::of(Ask::Unit, ProductId(1), series, numbers), address.clone(), 1, refusals)
    };
    // The second time under the same ids; so there are 100 left for others.
    for _ in 0..2 {
        assert_all_right(&reserves(false, 500, 7), 500).await;
    }
    assert_all_right(&reserves(false, 100, 8), 100).await;
    assert_all_right(&reserves(true, 100, 9), 100).await;
}

#[test]
fn every_system_does_the_work_and_the_list_says_so() {
    let Some(valkey) = valkey() else { return };
    if found("initdb", "DOORBUSTER_REQUIRE_POSTGRES").is_none() {
        return;
    }
    // That it stands beside `doorbuster`.
    assert_eq!(binary().parent(), Path::new(env!("CARGO_BIN_EXE_peers")).parent());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("list.json").display().to_string();
    let works = "refuse-d16,reserve-disk-d1,reserve-3-nodes-d16";
    let short = ["--seconds", "0.8", "--repeats", "1", "--server-cpus", "0", "--generator-cpus", "0"];
    let words = [&["--works", works, "--json", &file, "--connections", "4"], &short[..]].concat();
    let output = peers(&words, &[("DOORBUSTER_VALKEY", valkey.as_os_str())]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{shown}{}", String::from_utf8_lossy(&output.stderr));
    assert!(shown.contains("doorbuster is") && shown.contains("PostgreSQL"), "{shown}");
    let list: Vec<Value> =
        serde_json::from_str(&std::fs::read_to_string(&file).expect("it was written")).expect("it is a list");
    let named = |system: System| {
        let own = list.iter().filter(move |line| line["system"] == system.to_string());
        own.filter_map(|line| line["work"].as_str()).collect::<Vec<_>>()
    };
    assert_eq!(named(System::Doorbuster), works.split(',').collect::<Vec<_>>());
    assert_eq!(named(System::Valkey), works.split(',').collect::<Vec<_>>());
    assert_eq!(named(System::Postgres), ["refuse-d16", "reserve-disk-d1"]);
    assert_eq!(named(System::Echo), ["refuse-d16"]);
    for line in &list {
        let number = |name: &str| line[name].as_f64().unwrap_or_default();
        assert!(number("ops_per_second") > 0.0 && number("ratio_to_doorbuster") > 0.0, "{line}");
        assert!(number("p50_us") > 0.0 && number("p99_us") >= number("p50_us"), "{line}");
    }
}

#[test]
fn what_cannot_be_compared_is_refused_with_what_to_do() {
    for (words, code, named) in [
        (&["--works", "reserve-disk-d2"][..], 2, "reserve-disk-d16"),
        (&["--only", "redis"], 6, "redis-server"),
        (&["--only", "mysql"], 2, "valkey"),
        (&["--seconds", "0"], 2, "0.2 to 600"),
        (&["--only", "echo", "--data", "/dev/shm"], 2, "is in memory"),
        (&["--only", "echo", "--works", "refuse-d1", "--server-cpus", "1000"], 6, "1000"),
    ] {
        let output = peers(words, &[("PATH", "".as_ref())]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert!(said.contains(named), "{words:?}: {said}");
    }
}

fn peers(words: &[&str], environment: &[(&str, &std::ffi::OsStr)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peers"));
    command.args(words).envs(environment.iter().copied()).stdin(Stdio::null());
    command.output().expect("the binary runs")
}

/// Over three connections, eight at a time on each.
async fn assert_all_right<D: Dialect + Clone + Send + 'static>(dialect: &D, count: u64) {
    let start = clock::now();
    let window = Window { from: start, until: start + 60 * SECOND };
    let load = Load { threads: 1, connections: 3, rhythm: Rhythm::Closed(8), cpus: None, start, window };
    let recorder: Recorder = load.run(dialect).await.expect("it answers").recorder;
    assert_eq!((recorder.measured(), recorder.failures().len()), (count, 0), "{:?}", recorder.failures());
}

fn valkey() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("DOORBUSTER_VALKEY") {
        return Some(named.into());
    }
    found("valkey-server", "DOORBUSTER_REQUIRE_VALKEY")
}

fn found(program: &str, required: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    assert!(found.is_some() || std::env::var_os(required).is_none(), "{program} is missing");
    if found.is_none() {
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            format!("left out: no {program} on this machine\n").as_bytes(),
        );
    }
    found
}
