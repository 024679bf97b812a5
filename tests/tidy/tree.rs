//! The project's files.

use std::fs;
use std::path::{Path, PathBuf};

/// A Rust source file: its path from the project's root, and its text.
pub struct Source {
    pub path: String,
    pub text: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// Code that runs only in tests, benches and examples may do what the product may not.
    pub fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        self.path.starts_with("tests/")
            || self.path.starts_with("benches/")
            || ["/tests/", "/examples/", "/benches/"].iter().any(|folder| self.path.contains(folder))
            || name.starts_with("tests")
            || name.ends_with("_tests.rs")
            || name.ends_with("_test.rs")
    }

    /// The text before the file's own test module, which by habit stands last.
    pub fn product_code(&self) -> &str {
        let end = self.text.find("#[cfg(test)]\nmod ").or_else(|| self.text.find("#[cfg(all(test"));
        &self.text[..end.unwrap_or(self.text.len())]
    }

    /// The first folder of its path that is a crate.
    pub fn package(&self) -> &str {
        let folders = ["server/inventory", "server/gate"];
        folders
            .into_iter()
            .find(|folder| self.path.starts_with(&format!("{folder}/")))
            .unwrap_or_else(|| self.path.split('/').next().unwrap_or_default())
    }
}

/// The folder that holds the workspace's `Cargo.toml`.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace").to_path_buf()
}

/// Every Rust file of the project.
pub fn sources(root: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    walk(root, &mut |path| {
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let path = path.strip_prefix(root).expect("it was found below the root").to_string_lossy().into_owned();
            found.push(Source { path, text });
        }
    });
    assert!(found.len() > 20, "only {} source files found below {}", found.len(), root.display());
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn walk(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for path in entries.map(|entry| entry.expect("a folder's entry can be read").path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                walk(&path, visit);
            }
        } else {
            visit(&path);
        }
    }
}
