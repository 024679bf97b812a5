//! What the comparison can be told.

use clap::Parser;
use std::path::PathBuf;

/// Stores confirmed reservations in PostgreSQL: by the gateway's order writer, and by bare UNNEST batches of the same rows
#[derive(Parser, Clone, Debug)]
#[command(name = "orders", bin_name = "benches/orders/run", max_term_width = 110)]
pub struct Options {
    /// Orders in a round
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=500_000))]
    pub orders: u32,
    /// How often each way has its turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=99))]
    pub rounds: u16,
    /// Print one JSON document for programs instead of a table; an error too, on stderr
    #[arg(long)]
    pub json: bool,
    /// Where data goes: the disk that counts; without it a temporary folder
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
}
