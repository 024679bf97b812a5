//! Frames and handshakes between client and server, and the commands of a log entry, which have the same bytes.

use std::path::Path;

use doorbuster_protocol::command::Command;
use doorbuster_protocol::frame::{decode_answers, decode_requests, encode_answers, encode_requests};
use doorbuster_protocol::handshake::{decode_hello, decode_welcome, encode_hello, encode_welcome};
use doorbuster_server::shard::entry;

/// Requests as a server reads them.
pub fn requests(bytes: &[u8]) {
    let mut read = Vec::new();
    let taken = decode_requests(bytes, &mut |id, request| read.extend(request.ok().map(|request| (id, request))));
    assert!(taken.is_err() || taken.is_ok_and(|taken| taken <= bytes.len()), "more was taken than there was");
    let mut again = Vec::new();
    let mut written = Vec::new();
    encode_requests(&read, &mut written);
    let taken = decode_requests(&written, &mut |id, request| again.push((id, request.expect("just written"))));
    assert_eq!(taken.ok(), Some(written.len()), "a whole stream is taken whole");
    assert_eq!(read, again, "requests come back as they were");
}

/// Answers as a client reads them.
pub fn answers(bytes: &[u8]) {
    let mut read = Vec::new();
    let taken = decode_answers(bytes, &mut |id, answer| read.push((id, answer)));
    assert!(taken.is_err() || taken.is_ok_and(|taken| taken <= bytes.len()), "more was taken than there was");
    let mut again = Vec::new();
    let mut written = Vec::new();
    encode_answers(&read, &mut written);
    let taken = decode_answers(&written, &mut |id, answer| again.push((id, answer)));
    assert_eq!(taken.ok(), Some(written.len()), "a whole stream is taken whole");
    assert_eq!(read, again, "answers come back as they were");
}

/// Both sides' first frames.
pub fn handshake(bytes: &[u8]) {
    if let Ok(Some((hello, taken))) = decode_hello(bytes) {
        assert!(taken <= bytes.len());
        let mut written = Vec::new();
        encode_hello(&hello, &mut written);
        assert_eq!(decode_hello(&written).ok(), Some(Some((hello, written.len()))));
    }
    if let Ok(Some((welcome, taken))) = decode_welcome(bytes) {
        assert!(taken <= bytes.len());
        let mut written = Vec::new();
        encode_welcome(&welcome, &mut written);
        assert_eq!(decode_welcome(&written).ok(), Some(Some((welcome, written.len()))));
    }
}

/// The payload of a log entry.
pub fn log_entry(bytes: &[u8]) {
    let Ok((header, commands)) = entry::decode(bytes) else { return };
    let mut builder = entry::Builder::new(header);
    let commands: Vec<Command> = commands.map_while(Result::ok).collect();
    commands.iter().for_each(|command| builder.push(command));
    let written = builder.finish();
    let (header_again, commands_again) = entry::decode(&written).expect("just written");
    assert_eq!(header_again, header);
    let commands_again: Vec<Command> = commands_again.map(|command| command.expect("just written")).collect();
    assert_eq!(commands_again, commands, "commands come back as they were");
}

/// The golden vectors, whatever they are of.
pub fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protocol/vectors");
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = files.map(|file| file.path()).collect();
    paths.sort();
    paths.iter().filter_map(|path| bytes_of(&std::fs::read_to_string(path).ok()?)).collect()
}

/// Entries with the commands of the golden vectors.
pub fn command_seeds() -> Vec<Vec<u8>> {
    let mut commands = Vec::new();
    for seed in seeds() {
        let mut sink = |_, request: Result<doorbuster_protocol::request::Request, _>| {
            if let Ok(doorbuster_protocol::request::RequestBody::Command(command)) = request.map(|request| request.body)
            {
                commands.push(command);
            }
        };
        let _ = decode_requests(&seed, &mut sink);
    }
    let header = entry::Header { stamp: 5.into(), checked: 4.into(), hash: 3.into() };
    let entry_of = |commands: &[Command]| {
        let mut builder = entry::Builder::new(header);
        commands.iter().for_each(|command| builder.push(command));
        builder.finish().to_vec()
    };
    let mut entries: Vec<_> = commands.chunks(1).map(entry_of).collect();
    entries.push(entry_of(&commands));
    entries
}

fn bytes_of(vector: &str) -> Option<Vec<u8>> {
    let vector: serde_json::Value = serde_json::from_str(vector).ok()?;
    let hex = vector.get("bytes")?.as_str()?;
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()).collect()
}
