//! What no compiler checks and every reader relies on: files and functions of a size one can read, imports in one
//! direction, time and randomness as input, no markers of unfinished work. One rule a function, in `rules`;
//! `samples` shows for each rule a text that it must object to.

mod functions;
mod imports;
mod rules;
mod samples;
mod tree;

use rules::Finding;

#[test]
fn the_tree_is_tidy() {
    let root = tree::root();
    let mut findings: Vec<Finding> = tree::sources(&root).iter().flat_map(rules::check).collect();
    findings.extend(rules::unwraps(&tree::sources(&root)));
    findings.extend(imports::check(&root));
    findings.extend(rules::documents(&root));
    let report: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(report.is_empty(), "{} findings:\n{}", report.len(), report.join("\n"));
}
