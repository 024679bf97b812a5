//! `kill -9` of a real process that writes to a real disk.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use super::{append, entry, marked, small};
use crate::types::ShardId;
use crate::{
    disk::RealDisk,
    log::{LogConfig, LogCore, format, open},
    types::Entry,
};

const CHILD: &str = "DOORBUSTER_TEST_LOG_DIRECTORY";

fn config(directory: &Path) -> LogConfig {
    LogConfig { directory: directory.join("log"), segment_bytes: 64 << 10, ..small() }
}

fn data(index: u64) -> Entry {
    entry(index, 1, &index.to_le_bytes().repeat(20))
}

#[test]
fn a_killed_process_loses_nothing_that_it_reported() {
    if let Some(directory) = env::var_os(CHILD) {
        write_forever(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    format(&RealDisk, &config(directory.path())).unwrap();
    let mut before = 0;
    for life in 1..=5 {
        let reported = kill_after(directory.path(), life * 150);
        let (_, recovered) = LogCore::open(Arc::new(RealDisk), config(directory.path())).unwrap();
        let last = recovered[0].mark.index + recovered[0].entries.len() as u64;
        assert!(last >= reported && reported > before, "{last} came back, {reported} were reported");
        assert!(recovered[0].entries.iter().all(|entry| *entry == data(entry.index)));
        before = reported;
    }
}

/// Runs this test as a child until it has reported `count` more tickets, and kills it. The last index it reported.
fn kill_after(directory: &Path, count: u64) -> u64 {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "log::tests::kill::a_killed_process_loses_nothing_that_it_reported", "--nocapture"])
        .env(CHILD, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut seen, mut reported) = (0, 0);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        // The test harness prints lines of its own.
        let Some(index) = line.unwrap().strip_prefix("durable ").and_then(|index| index.parse().ok()) else { continue };
        reported = index;
        seen += 1;
        if seen == count {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(seen >= count, "the child ended by itself after {seen}");
    reported
}

fn write_forever(directory: &Path) -> ! {
    let durable = Arc::new(|tickets: &mut dyn Iterator<Item = (ShardId, u64)>| {
        for (_, ticket) in tickets {
            // One write a line, so that the parent never reads half a number.
            let _ = std::io::stdout().write_all(format!("durable {ticket}\n").as_bytes());
        }
    });
    let (log, recovered) =
        open(Arc::new(RealDisk), config(directory), durable, Arc::new(|reason| panic!("{reason}"))).unwrap();
    let first = recovered[0].mark.index + recovered[0].entries.len() as u64 + 1;
    for index in first.. {
        let mut batch = vec![append(0, index, vec![data(index)])];
        if index % 400 == 0 {
            batch.push(marked(0, index, index - 200, 1));
        }
        log.submit(batch);
        if index % 20 == 0 {
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
    }
    unreachable!("the parent kills this process")
}
