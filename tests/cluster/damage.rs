//! Data that is not what the node left behind: it says so and does not serve.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use doorbuster_tests::binary::binary;

use crate::sale::{Ledger, Sale, load};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_data_was_emptied_does_not_come_back_as_itself() {
    let sale = Sale::start().await;
    let lost = sale.follower().await;
    let data = sale.cluster.folder(lost).expect("it has a folder").join("data");
    sale.cluster.kill(lost).expect("a running node can be killed");
    fs::remove_dir_all(&data).expect("the test may empty it");

    sale.cluster.start_node(lost).expect("the process starts");
    let log = sale.log_of_refusal(lost).await;
    assert!(log.contains(&format!("node {lost}")) && log.contains("format"), "it does not say why:\n{log}");

    // An operator who formats it again gets no further: the others know that it was somebody else.
    let configuration = sale.cluster.folder(lost).expect("it has a folder").join("server.toml");
    let formatted = Command::new(binary()).args(["server", "format", "--config"]).arg(&configuration).output();
    assert!(formatted.expect("the binary runs").status.success());
    sale.cluster.start_node(lost).expect("the process starts");
    let log = sale.log_of_refusal(lost).await;
    assert!(log.contains("lost its data"), "it does not say why:\n{log}");
    sale.assert_still_sells().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_in_the_log_is_named_and_not_served() {
    let sale = Sale::start().await;
    let victim = sale.follower().await;
    let ledger = Ledger::default();
    let mut callers = load(&sale.client, 8, 1, &ledger);
    while ledger.lock().len() < 100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    callers.shutdown().await;
    sale.cluster.kill(victim).expect("a running node can be killed");
    let segment = newest_segment(&sale.cluster.folder(victim).expect("it has a folder").join("data"));
    flip_in_the_middle(&segment);

    sale.cluster.start_node(victim).expect("the process starts");
    let log = sale.log_of_refusal(victim).await;
    let name = segment.file_name().unwrap_or_default().to_string_lossy().into_owned();
    assert!(log.contains(&name) && log.contains("offset"), "it does not name {name} and the offset:\n{log}");
    sale.assert_still_sells().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_start_on_the_same_data_is_refused() {
    let sale = Sale::start().await;
    let node = sale.follower().await;
    let configuration = sale.cluster.folder(node).expect("it has a folder").join("server.toml");
    // Elsewhere, so that not the ports are in the way but the data.
    let elsewhere = ["--listen", "--peer-listen", "--admin-listen"].into_iter().flat_map(|flag| [flag, "127.0.0.1:0"]);
    let second =
        Command::new(binary()).args(["server", "run", "--config"]).arg(&configuration).args(elsewhere).output();
    let second = second.expect("the binary runs");
    let said = String::from_utf8_lossy(&second.stdout).into_owned() + &String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && said.contains("in use"), "it does not say why:\n{said}");
    assert!(sale.cluster.is_running(node));
    sale.assert_still_sells().await;
}

impl Sale {
    async fn assert_still_sells(&self) {
        let ledger = Ledger::default();
        let mut callers = load(&self.client, 4, 99, &ledger);
        let sold = async {
            while ledger.lock().len() < 20 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), sold).await.expect("the other two sell on");
        callers.shutdown().await;
    }
}

/// The segment that was written to, and has the most written in it.
fn newest_segment(data: &Path) -> PathBuf {
    let mut found = Vec::new();
    collect(data, &mut found);
    let segment = found.into_iter().max_by_key(|path| written(path));
    segment.expect("a node that ran has a log segment")
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the data folder can be read") {
        let path = entry.expect("its entries too").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.parent().is_some_and(|parent| parent.ends_with("log")) {
            found.push(path);
        }
    }
}

/// Bytes up to the last one that is not zero.
fn written(path: &Path) -> usize {
    let bytes = fs::read(path).expect("a segment can be read");
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

fn flip_in_the_middle(path: &Path) {
    let mut bytes = fs::read(path).expect("a segment can be read");
    let middle = written(path) / 2;
    assert!(middle > 1000, "{} has nothing in it", path.display());
    bytes[middle] ^= 0x40;
    fs::write(path, bytes).expect("and written");
}
