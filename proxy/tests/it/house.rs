//! Which package may depend on which (design, section 1), read from `cargo tree`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// The names of all packages that `package` pulls in by normal and build edges with these further arguments.
fn tree(package: &str, arguments: &[&str]) -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = Command::new(env!("CARGO"))
        .current_dir(root)
        .args([
            "tree",
            "--locked",
            "--offline",
            "-e",
            "normal,build",
            "--prefix",
            "none",
            "-f",
            "{lib}|{p}",
            "-p",
            package,
        ])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let names: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.split_once('|'))
        .filter_map(|(_, package)| package.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    assert!(names.contains(package), "cargo tree of {package} says: {text}");
    names
}

#[track_caller]
fn check_absent(package: &str, arguments: &[&str], absent: &[&str]) {
    let names = tree(package, arguments);
    for name in absent {
        assert!(!names.contains(*name), "{package} must not depend on {name}");
    }
}

#[test]
fn the_core_pulls_in_no_runtime_no_server_and_no_other_member() {
    check_absent(
        "portcullis-core",
        &[],
        &[
            "tokio",
            "hyper",
            "reqwest",
            "pingora-core",
            "rustls",
            "portcullis",
            "portcullis-fixtures",
            "portcullis-loadgen",
        ],
    );
}

#[test]
fn nothing_depends_on_the_proxy() {
    for package in [
        "portcullis-core",
        "portcullis-fixtures",
        "portcullis-bench",
        "portcullis-loadgen",
    ] {
        check_absent(package, &["--all-features"], &["portcullis"]);
    }
    check_absent(
        "portcullis-loadgen",
        &["--all-features"],
        &["portcullis-core", "pingora-core"],
    );
    check_absent(
        "portcullis-fixtures",
        &["--all-features"],
        &["portcullis-core", "pingora-core"],
    );
}

#[test]
fn without_its_feature_demo_the_binary_can_mint_no_token() {
    check_absent(
        "portcullis",
        &["--no-default-features"],
        &["portcullis-fixtures", "rsa", "axum"],
    );
    assert!(tree("portcullis", &[]).contains("portcullis-fixtures"));
}

#[test]
fn one_crypto_provider_is_in_the_tree() {
    for package in ["portcullis", "portcullis-bench", "portcullis-loadgen"] {
        check_absent(
            package,
            &["--all-features"],
            &["aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys", "boring"],
        );
    }
}
