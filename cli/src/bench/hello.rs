//! A bare hyper server, a process of its own: it takes a request and its body, looks at neither, and says that everything is
//! sold out. What a gateway is measured against.

use crate::clock;
use crate::demo::process::Process;
use crate::error::CliError;
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::path::Path;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// It listens within.
const WITHIN: Duration = Duration::from_secs(30);
/// As long as what the gateway answers.
const ANSWER: &str = "{\"type\":\"https://doorbuster.invalid/problems/sold_out\",\"title\":\"Sold out\",\"status\":409,\
    \"detail\":\"every unit is sold\",\"code\":\"sold_out\",\"retryable\":false}";

/// `doorbuster bench hello`, which `bench http` starts.
#[derive(Args, Debug)]
pub struct HelloArgs {
    /// Where it listens
    #[arg(long)]
    listen: String,
}

/// Serves for as long as it is let.
///
/// # Errors
/// If it cannot listen there.
pub async fn serve(args: HelloArgs) -> Result<(), CliError> {
    let wrong = |error| CliError::usage(format!("--listen {}: {error}", args.listen));
    let listener = TcpListener::bind(&args.listen).await.map_err(wrong)?;
    loop {
        let (stream, _) = listener.accept().await.map_err(wrong)?;
        stream.set_nodelay(true).map_err(wrong)?;
        // Whoever is connected notices how it ends.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)));
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    request.into_body().collect().await?;
    let mut response = Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes())));
    *response.status_mut() = StatusCode::CONFLICT;
    Ok(response)
}

/// Starts it as a process of its own.
///
/// # Errors
/// If it cannot be started.
pub fn start(binary: &Path, address: &str, log: &Path) -> Result<Process, CliError> {
    let arguments = ["bench", "hello", "--listen", address].map(str::to_owned);
    Process::start("the bare server", binary, &arguments, log)
}

/// Until it listens.
///
/// # Errors
/// If it does not in time.
pub async fn wait(address: &str) -> Result<(), CliError> {
    let deadline = clock::now() + WITHIN;
    while TcpStream::connect(address).await.is_err() {
        if clock::now() > deadline {
            return Err(CliError::failed(format!("the bare server does not listen at {address}")));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
