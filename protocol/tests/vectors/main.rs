//! The golden vectors in `vectors/` are what this crate encodes, and decode to what they say.
//!
//! `DOORBUSTER_BLESS=1 cargo test -p doorbuster-protocol --test vectors` writes them anew; a difference in
//! version control is then a change of the protocol.

mod cases;
mod describe;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use doorbuster_protocol::code::Code;
use doorbuster_protocol::failure::Failure;
use doorbuster_protocol::frame::*;
use doorbuster_protocol::handshake::*;
use doorbuster_protocol::reply::Answer;
use doorbuster_protocol::request::Request;
use doorbuster_protocol::types::{ProductId, RequestId, shard_of};
use serde_json::{Value, json};

const ID: RequestId = RequestId(0x4142_4344_4546_4748);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
    digits.chunks(2).map(byte).collect()
}

#[allow(clippy::needless_pass_by_value)] // most are made for it
fn vector(frame: &str, description: &str, bytes: &[u8], value: Value) -> Value {
    json!({ "frame": frame, "description": description, "value": value, "bytes": hex(bytes) })
}

fn single_request(id: RequestId, request: &Request) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_request(id, request, &mut bytes);
    bytes
}

fn single_answer(id: RequestId, answer: &Answer) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_answer(id, answer, &mut bytes);
    bytes
}

/// Every vector by the name of its file.
fn generate() -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for (name, description, request) in cases::requests() {
        let value = describe::request(ID, &request);
        let description = format!("{name}: {description}");
        let vector = vector("request", &description, &single_request(ID, &request), value);
        all.insert(format!("request_{name}"), vector);
    }
    for (name, description, reply) in cases::replies() {
        let answer = Ok(reply);
        let vector = vector("answer", description, &single_answer(ID, &answer), describe::answer(ID, &answer));
        all.insert(format!("answer_{name}"), vector);
    }
    for (name, failure) in cases::failures() {
        let description = failure.to_string();
        let answer = Err(failure);
        let vector = vector("answer", &description, &single_answer(ID, &answer), describe::answer(ID, &answer));
        all.insert(format!("failure_{name}"), vector);
    }
    for (name, content) in cases::malformed() {
        all.insert(format!("malformed_{name}"), malformed(&content));
    }
    for (name, bytes) in cases::broken() {
        all.insert(format!("broken_{name}"), broken(&bytes));
    }
    handshakes(&mut all);
    batches(&mut all);
    all.insert("shard_of".to_owned(), shards());
    all
}

fn handshakes(all: &mut BTreeMap<String, Value>) {
    let mut bytes = Vec::new();
    encode_hello(&cases::hello(), &mut bytes);
    let hello = vector("hello", "the client's first frame", &bytes, describe::hello(&cases::hello()));
    all.insert("hello".to_owned(), hello);
    for (name, description, welcome) in cases::welcomes() {
        bytes.clear();
        encode_welcome(&welcome, &mut bytes);
        all.insert(name.to_owned(), vector("welcome", description, &bytes, describe::welcome(&welcome)));
    }
}

fn batches(all: &mut BTreeMap<String, Value>) {
    let requests: Vec<_> = (1..).map(RequestId).zip(cases::requests().into_iter().map(|case| case.2)).take(3).collect();
    let mut bytes = Vec::new();
    encode_requests(&requests, &mut bytes);
    let values: Vec<_> = requests.iter().map(|(id, request)| describe::request(*id, request)).collect();
    let description = "three requests in one batch frame";
    all.insert("requests_batch".to_owned(), vector("requests", description, &bytes, json!(values)));
    let failures = cases::failures().into_iter().map(|case| Err(case.1));
    let answers: Vec<(_, Answer)> = (1..).map(RequestId).zip(failures).take(3).collect();
    bytes.clear();
    encode_answers(&answers, &mut bytes);
    let values: Vec<_> = answers.iter().map(|(id, answer)| describe::answer(*id, answer)).collect();
    let description = "three answers in one batch frame";
    all.insert("answers_batch".to_owned(), vector("answers", description, &bytes, json!(values)));
}

/// A request that must be refused alone, and what a server of ours says of it.
fn malformed(content: &[u8]) -> Value {
    let mut bytes = u32::try_from(HEADER_BYTES + content.len()).expect("short").to_le_bytes().to_vec();
    bytes.extend([VERSION, 4, 0, 0]);
    bytes.extend(ID.0.to_le_bytes());
    bytes.extend(content);
    let mut said = None;
    decode_requests(&bytes, &mut |id, request| said = Some((id, request))).expect("the frame is whole");
    let Some((ID, Err(Failure::Malformed(detail)))) = said else { panic!("not refused: {content:?}") };
    vector("malformed", &detail, &bytes, json!({ "id": ID.0 }))
}

/// A frame that ends the connection, and what a server of ours says of it. No request of it is handed on.
fn broken(bytes: &[u8]) -> Value {
    let mut handed_on = 0;
    let error = decode_requests(bytes, &mut |_, _| handed_on += 1).expect_err("it breaks the rules");
    assert_eq!(handed_on, 0, "{error}: a request took effect");
    vector("broken", &error.to_string(), bytes, json!({}))
}

fn shards() -> Value {
    let products = [1, 2, 3, 42, 1_000_000_007, u64::MAX];
    let rows: Vec<_> = products
        .iter()
        .flat_map(|&product| [1, 8, 256].map(|shards| json!([product, shards, shard_of(ProductId(product), shards).0])))
        .collect();
    json!({ "frame": "shard_of", "description": "product id, number of shards, shard", "value": rows, "bytes": "" })
}

#[test]
fn the_vectors_are_what_is_encoded() {
    let generated = generate();
    let path = |name: &str| folder().join(format!("{name}.json"));
    if std::env::var_os("DOORBUSTER_BLESS").is_some() {
        for (name, vector) in &generated {
            let text = serde_json::to_string_pretty(vector).expect("JSON") + "\n";
            std::fs::write(path(name), text).expect("the folder can be written");
        }
    }
    for (name, vector) in &generated {
        let text = std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let golden: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(golden, *vector, "{name}: the protocol has changed");
    }
    let files = std::fs::read_dir(folder()).expect("the folder is there").count();
    assert_eq!(files, generated.len(), "a vector that is no message any more");
}

#[test]
fn the_vectors_decode_to_what_they_say() {
    for (name, vector) in generate() {
        let bytes = unhex(vector["bytes"].as_str().expect("text"));
        let mut values = Vec::new();
        match vector["frame"].as_str().expect("text") {
            "request" | "requests" => {
                let mut sink = |id, request: Result<Request, Failure>| {
                    values.push(describe::request(id, &request.expect("well-formed")));
                };
                assert_eq!(decode_requests(&bytes, &mut sink), Ok(bytes.len()), "{name}");
            }
            "answer" | "answers" => {
                let mut sink = |id, answer: Answer| values.push(describe::answer(id, &answer));
                assert_eq!(decode_answers(&bytes, &mut sink), Ok(bytes.len()), "{name}");
            }
            "hello" => values.push(describe::hello(&decode_hello(&bytes).expect("valid").expect("whole").0)),
            "welcome" => values.push(describe::welcome(&decode_welcome(&bytes).expect("valid").expect("whole").0)),
            _ => continue,
        }
        let expected = match &vector["value"] {
            Value::Array(values) => values.clone(),
            value => vec![value.clone()],
        };
        assert_eq!(values, expected, "{name}");
    }
}

/// The client in `examples/python` was written from `PROTOCOL.md` alone.
#[test]
fn a_client_in_another_language_agrees_with_every_vector() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/python");
    let Ok(version) = Process::new("python3").arg("--version").output() else {
        return eprintln!("no python3 here: not checked");
    };
    assert!(version.status.success());
    let run = Process::new("python3")
        .args(["-B", "check_vectors.py"])
        .arg(folder())
        .current_dir(python)
        .output()
        .expect("python3 runs");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
    assert!(said.contains(&format!("{} vectors", generate().len())), "{said}");
}

#[test]
fn the_page_lists_every_code_as_it_is() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("PROTOCOL.md")).expect("there");
    let yes = |flag| if flag { "yes" } else { "no" };
    for code in Code::all() {
        let row = format!("| {} | `{}` |", code.number(), code.name());
        let line = page.lines().find(|line| line.starts_with(&row)).unwrap_or_else(|| panic!("no row for {code}"));
        let after = code.retry_after().map_or(String::new(), |after| format!("{after} ms"));
        let advice = format!("| {} | {} | {after} |", yes(code.retryable()), yes(code.same_id()));
        let advice = advice.replace("|  |", "| |");
        assert!(line.ends_with(&advice), "{line}\nshould end with {advice}");
    }
}
