//! Every rule objects to something: for each, a text that it must find and one that it must let pass.

use crate::imports::wrong_imports;
use crate::rules::{self, Finding};
use crate::tree::Source;

type Rule = fn(&Source) -> Vec<Finding>;

fn objects(rule: Rule, path: &str, text: &str) -> bool {
    !rule(&Source::new(path, text)).is_empty()
}

#[test]
fn each_rule_finds_what_it_is_for() {
    let long_file = "//! x\n".repeat(601);
    let long_function = format!("fn f() {{\n{}}}\n", "    g();\n".repeat(70));
    let cases: [(&str, Rule, &str, &str); 10] = [
        ("a long file", rules::file_length, "raft/src/a.rs", &long_file),
        ("a long function", rules::function_length, "raft/src/a.rs", &long_function),
        ("no contract", rules::contract, "raft/src/a.rs", "fn f() {}\n"),
        ("a marker", rules::markers, "raft/src/a.rs", "fn f() { todo!() }\n"),
        ("a vague name", rules::names, "raft/src/utils.rs", ""),
        ("a clock", rules::ambient, "raft/src/a.rs", "let t = std::time::Instant::now();\n"),
        ("entropy", rules::ambient, "gateway/src/a.rs", "getrandom::fill(&mut b);\n"),
        ("I/O in the core", rules::purity, "server/inventory/src/a.rs", "use std::fs;\n"),
        ("unsafe unexplained", rules::unsafety, "raft/src/a.rs", "fn f() { unsafe { g() } }\n"),
        ("unsafe allowed by default", rules::unsafety, "raft/src/lib.rs", "//! x\n"),
    ];
    for (what, rule, path, text) in cases {
        assert!(objects(rule, path, text), "the rule against {what} finds nothing");
    }
}

#[test]
fn each_rule_lets_good_code_pass() {
    let text = "//! x\n#![forbid(unsafe_code)]\nfn f() {}\n#[cfg(test)]\nmod tests { fn t() { std::time::Instant::now(); } }\n";
    let findings = rules::check(&Source::new("raft/src/lib.rs", text));
    assert!(findings.is_empty(), "{}", findings[0]);
    assert!(rules::check(&Source::new("raft/src/clock.rs", "//! x\nfn f() { Instant::now(); }\n")).is_empty());
}

#[test]
fn unwraps_are_counted_by_crate() {
    let many = Source::new("client/src/a.rs", &"a.unwrap();\n".repeat(10));
    let few = Source::new("raft/src/a.rs", "a.expect(\"b\");\n");
    let findings = rules::unwraps(&[many, few]);
    assert_eq!(findings.iter().map(|finding| finding.path.as_str()).collect::<Vec<_>>(), ["client"]);
}

#[test]
fn imports_against_the_direction_are_found() {
    let manifest = "[dependencies]\ndoorbuster-server = { path = \"x\" }\ndoorbuster-protocol.workspace = true\n";
    assert_eq!(wrong_imports("client/Cargo.toml", manifest, &["protocol"]).len(), 1);
    assert!(wrong_imports("cli/Cargo.toml", manifest, &["protocol", "server"]).is_empty());
}
