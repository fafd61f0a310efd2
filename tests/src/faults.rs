//! The page of faults names tests that exist.

use std::{collections::BTreeSet, fs, path::Path};

fn functions(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source");
            let names =
                text.lines().filter_map(|line| line.trim_start().split_once("fn ")?.1.split('(').next());
            found.extend(names.map(str::to_owned));
        }
    }
}

#[test]
fn every_test_that_the_page_of_faults_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut there = BTreeSet::new();
    for directory in ["agent/src", "tests/src", "tests/tests"] {
        functions(&root.join(directory), &mut there);
    }
    let page = fs::read_to_string(root.join("agent/docs/FAULTS.md")).expect("the page");
    // Names of tests are sentences of one word; keys and fields are not that long, and commands have blanks.
    let is_test = |name: &&str| name.matches('_').count() > 4 && !name.contains(char::is_whitespace);
    let named: Vec<&str> = page.split('`').skip(1).step_by(2).filter(is_test).collect();
    assert!(named.len() > 30, "{named:?}");
    let missing: Vec<&&str> = named.iter().filter(|name| !there.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
