//! Reads the core's own sources: what they must not name, and in which order modules may use each other.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every source file below `core/src`, tests left out, with its path from there.
#[expect(clippy::disallowed_methods, reason = "the test reads the sources themselves")]
fn sources() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut found = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                if path.file_name().unwrap() != "tests" {
                    folders.push(path);
                }
            } else if path.file_name().unwrap() != "tests.rs" {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(found.contains_key("gate.rs"), "the sources were not found");
    found
}

/// The lines of code of a source, comments left out.
fn code(source: &str) -> impl Iterator<Item = &str> {
    source
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with("//"))
}

#[test]
fn the_core_touches_environment_network_and_files_nowhere_but_in_storage() {
    for (file, source) in sources() {
        for line in code(&source) {
            for banned in [
                "std::env",
                "std::net::Tcp",
                "std::net::Udp",
                "std::process",
                "SystemTime",
                "Instant::now",
            ] {
                assert!(!line.contains(banned), "{file}: `{banned}` in `{line}`");
            }
            if file != "audit/storage.rs" {
                assert!(!line.contains("std::fs"), "{file}: `std::fs` in `{line}`");
            }
            assert!(
                !line.contains("async fn"),
                "{file}: the calls of the core are synchronous: `{line}`"
            );
        }
    }
}

#[test]
fn each_foreign_parser_engine_and_cipher_has_one_owner() {
    for (file, source) in sources() {
        let module = file.split(['/', '.']).next().unwrap();
        for (named, owner) in [("simd_json", "json"), ("regorus", "policy"), ("ring", "crypto")] {
            if module == owner {
                continue;
            }
            for line in code(&source) {
                let path = format!("{named}::");
                let whole_word = line
                    .split_once(&path)
                    .is_some_and(|(before, _)| !before.ends_with(|last: char| last.is_alphanumeric() || last == '_'));
                assert!(!whole_word, "{file}: `{named}` belongs to `{owner}`: `{line}`");
            }
        }
    }
}

#[test]
fn a_module_uses_only_modules_listed_above_it() {
    let sources = sources();
    let order: Vec<&str> = code(&sources["lib.rs"])
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod "))
        .map(|rest| rest.trim_end_matches(';'))
        .collect();
    assert!(order.len() > 10, "the list of modules was not found in lib.rs");
    for (file, source) in &sources {
        let module = file.split(['/', '.']).next().unwrap();
        let Some(place) = order.iter().position(|name| *name == module) else {
            assert_eq!(file, "lib.rs");
            continue;
        };
        for line in code(source) {
            for rest in line.split("crate::").skip(1) {
                let used: String = rest
                    .chars()
                    .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
                    .collect();
                let used_place = order.iter().position(|name| *name == used);
                assert!(
                    used_place.is_some_and(|used_place| used_place <= place),
                    "{file}: `{module}` stands above `{used}` in lib.rs and may not use it: `{line}`"
                );
            }
        }
    }
}

#[test]
fn what_benches_and_fuzzing_may_call_gives_out_no_proof() {
    let sources = sources();
    let text: String = code(&sources["gate/internal.rs"]).collect::<Vec<_>>().join(" ");
    let mut functions = 0;
    for item in text.split("pub ").skip(1) {
        let declared = item.split('{').next().unwrap();
        if declared.starts_with("struct ") {
            continue;
        }
        assert!(
            declared.starts_with("fn "),
            "only functions are public, no field: `{declared}`"
        );
        let given = declared.split_once("->").map_or("", |(_, given)| given);
        let words: Vec<&str> = given.split(|letter: char| !letter.is_alphanumeric()).collect();
        let plain = [
            "Self",
            "Result",
            "Option",
            "usize",
            "u8",
            "32",
            "DenyReason",
            "json",
            "ParseError",
            "",
        ];
        assert!(
            words.iter().all(|word| plain.contains(word)),
            "`{declared}` gives more than plain values"
        );
        functions += 1;
    }
    assert!(5 < functions, "the functions were not found");
}

#[test]
fn every_file_opens_with_what_it_owns() {
    for (file, source) in sources() {
        assert!(
            source.starts_with("//!"),
            "{file}: the head of a file says what it owns and what it never does"
        );
    }
}
