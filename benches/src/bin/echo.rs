//! The bare echo server that `peers` measures as the limit: `echo ADDRESS REQUEST_BYTES ANSWER_BYTES`. One thread.

use doorbuster_benches::peers::echo::{Sizes, serve};
use std::process::ExitCode;
use tokio::net::TcpListener;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| words.get(at)?.parse().ok().filter(|bytes| (1..=4096).contains(bytes));
    let (Some(address), Some(request), Some(answer)) = (words.first(), number(1), number(2)) else {
        return ended("usage: echo ADDRESS REQUEST_BYTES ANSWER_BYTES, each of 1 to 4096 bytes");
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return ended(&format!("no runtime: {error}")),
    };
    let served = runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        serve(listener, Sizes { request, answer }).await
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ended(&format!("{address}: {error}")),
    }
}

fn ended(why: &str) -> ExitCode {
    // Nobody is left to tell if stderr is closed.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("echo: {why}\n").as_bytes());
    ExitCode::from(2)
}
