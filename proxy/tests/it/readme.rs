//! The README's first configuration and its commands, taken from its text: what a newcomer copies must be accepted.

use std::path::Path;
use std::process::Command;

/// The fenced blocks of one language, in order.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let fence = format!("```{language}\n");
    text.split(&fence)
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect()
}

#[test]
fn the_first_configuration_is_accepted_as_it_stands() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let (yaml, rego) = (blocks(&readme, "yaml"), blocks(&readme, "rego"));
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("portcullis.yaml", yaml[0]),
        ("tools.yaml", yaml[1]),
        ("policy.rego", rego[0]),
        ("response.rego", rego[1]),
        ("data.json", r#"{"subjects": {}}"#),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let check = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command
            .args(["check", "-c"])
            .arg(folder.path().join(name))
            .output()
            .unwrap()
    };
    // The commands up to the one that runs the gate, in their order and as they stand there.
    let commands = readme.lines().filter_map(|line| line.strip_prefix("    portcullis "));
    let commands: Vec<&str> = commands
        .map(|line| line.split(" #").next().unwrap().trim())
        .take_while(|line| !line.starts_with("run "))
        .collect();
    assert_eq!(
        commands,
        [
            "keys init -c portcullis.yaml",
            "check -c portcullis.yaml",
            "check -c portcullis.yaml --deny-warnings",
            "config schema"
        ]
    );
    for command in commands {
        let done = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(command.split(' '))
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{command}: {said}");
    }

    let misspelled = yaml[0].replace("resource:", "resorce:");
    std::fs::write(folder.path().join("misspelled.yaml"), misspelled).unwrap();
    let refused = check("misspelled.yaml");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(3), "{said}");
    assert!(
        said.contains("unknown key `resorce`") && said.contains("nearest: `resource`"),
        "{said}"
    );
}
