//! Pages that name tests: each is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The names of all test functions of core, proxy and fixtures.
fn tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut folders: Vec<_> = ["core/src", "core/tests", "proxy/src", "proxy/tests", "fixtures/src"]
        .map(|folder| root.join(folder))
        .into();
    let mut names = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = fs::read_to_string(path).unwrap();
                let mut marked = false;
                for line in source.lines().map(str::trim_start) {
                    let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
                    match function.and_then(|rest| rest.split('(').next()) {
                        Some(name) if marked => {
                            names.insert(name.to_owned());
                            marked = false;
                        }
                        Some(_) => marked = false,
                        None => marked |= line.starts_with("#[test]") || line.starts_with("#[tokio::test"),
                    }
                }
            }
        }
    }
    names
}

#[test]
fn every_test_that_a_page_names_is_there() {
    let tests = tests();
    assert!(
        tests.contains("every_test_that_a_page_names_is_there"),
        "the sources were not found"
    );
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for page in ["faults.md", "limits.md"] {
        let text = fs::read_to_string(docs.join(page)).unwrap();
        let rows = text.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
        let mut named = 0;
        for row in rows {
            // The last cell but what stands behind the last bar.
            let cell = row.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap();
            for name in cell.split('`').skip(1).step_by(2) {
                assert!(tests.contains(name), "{page}: there is no test `{name}`");
                named += 1;
            }
        }
        assert!(20 < named, "{page}: {named} tests are named");
    }
}
