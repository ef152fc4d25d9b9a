//! The gate's own keys as an operator meets them: made, listed, rotated, missing, taken up by a gate that runs.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::persona::ALICE;
use serde_json::Value;
use tempfile::TempDir;

use crate::gate::{Gate, stored_keys, until};

const PURPOSES: [&str; 4] = ["assertion", "digests", "dpop_nonce", "session"];

/// A configuration that is read as far as the places of the keys.
const CONFIG: &str = "listen: [{address: \"127.0.0.1:0\"}]
audit: {directory: audit}
issuers: []
servers: []
";

fn folder(config: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("gate.yaml"), config).unwrap();
    folder
}

fn portcullis(folder: &Path, command: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(command.split(' '))
        .current_dir(folder)
        .output()
        .unwrap()
}

/// What a command that ends well prints.
#[track_caller]
fn done(folder: &Path, command: &str) -> String {
    let output = portcullis(folder, command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{command}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn json(folder: &Path, command: &str) -> Value {
    serde_json::from_str(&done(folder, &format!("{command} --format json"))).unwrap()
}

/// What a command that is refused with this status says.
#[track_caller]
fn refused(folder: &Path, command: &str, status: i32) -> String {
    let output = portcullis(folder, command);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{command}: {said}");
    assert!(output.stdout.is_empty(), "{command}");
    said
}

fn states(list: &Value, purpose: &str) -> Vec<String> {
    let keys = list["keys"].as_array().unwrap().iter();
    keys.filter(|key| key["purpose"] == purpose)
        .map(|key| key["state"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn what_is_missing_is_made_once_and_listed_without_a_secret() {
    let folder = folder(CONFIG);
    let path = folder.path();
    let empty = json(path, "keys list -c gate.yaml");
    assert_eq!(empty, serde_json::json!({"keys": [], "missing": PURPOSES}));
    assert!(!path.join("keys").exists(), "a look makes nothing");

    let made = json(path, "keys init -c gate.yaml");
    let named: Vec<&str> = { made["made"].as_array().unwrap().iter() }
        .map(|made| made["purpose"].as_str().unwrap())
        .collect();
    assert_eq!((named, &made["kept"]), (PURPOSES.to_vec(), &serde_json::json!([])));
    let again = json(path, "keys init -c gate.yaml");
    assert_eq!(again["made"], serde_json::json!([]));
    assert_eq!(again["kept"].as_array().unwrap().len(), 4);
    assert!(done(path, "keys init -c gate.yaml").contains("kept: session in keys/session.json\n"));

    let list = json(path, "keys list -c gate.yaml");
    assert_eq!(list["missing"], serde_json::json!([]));
    let mut printed = done(path, "keys list -c gate.yaml") + &list.to_string();
    printed += &done(path, "keys public -c gate.yaml");
    printed += &made.to_string();
    for purpose in PURPOSES {
        let file = path.join(format!("keys/{purpose}.json"));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&file).unwrap();
        let (id, _) = stored_keys(&file).pop().unwrap();
        let secret = text.split("\"secret\": \"").nth(1).unwrap().split('"').next().unwrap();
        assert!(!printed.contains(secret) && printed.contains(&id), "{printed}");
        assert_eq!(states(&list, purpose), ["active"]);
    }
    let row = &list["keys"][3];
    assert_eq!(
        (&row["source"], &row["until"]),
        (&"keys/session.json".into(), &Value::Null)
    );
    assert!(row["since"].as_str().unwrap().ends_with('Z'), "{row}");
}

#[test]
fn a_rotation_says_what_becomes_of_each_key() {
    let folder = folder(&format!("{CONFIG}keys: {{directory: \"state/own\"}}\n"));
    let path = folder.path();
    done(path, "keys init -c gate.yaml");
    let list = || json(path, "keys list -c gate.yaml");
    let first = stored_keys(&path.join("state/own/session.json")).pop().unwrap().0;

    let rotated = json(
        path,
        "keys rotate session -c gate.yaml --overlap 1h --activate-after 10m",
    );
    assert_eq!(rotated["retiring"]["id"], first.as_str());
    assert_eq!(rotated["next"], "each gate takes it up on SIGHUP");
    assert_eq!(states(&list(), "session"), ["active", "next"]);
    let rotated = done(path, "keys rotate session -c gate.yaml --overlap 0s");
    assert!(rotated.contains("\ndropped: "), "{rotated}");
    assert_eq!(states(&list(), "session"), ["ended", "active"]);
    done(path, "keys rotate session -c gate.yaml");
    assert_eq!(states(&list(), "session"), ["retiring", "active"]);
    assert_eq!(states(&list(), "assertion"), ["active"]);

    done(path, "keys rotate assertion -c gate.yaml --activate-after 10m");
    let public = json(path, "keys public -c gate.yaml");
    let kids: BTreeSet<&str> = { public["keys"].as_array().unwrap().iter() }
        .map(|key| key["kid"].as_str().unwrap())
        .collect();
    let stored = stored_keys(&path.join("state/own/assertion.json"));
    assert_eq!(kids, stored.iter().map(|(id, _)| id.as_str()).collect());
    assert!(public["keys"].as_array().unwrap().iter().all(|key| key["d"].is_null()));
}

#[test]
fn a_command_that_cannot_be_done_says_why() {
    let folder = folder(CONFIG);
    let path = folder.path();
    refused(path, "keys", 2);
    refused(path, "keys init", 2);
    refused(path, "keys rotate -c gate.yaml", 2);
    refused(path, "keys rotate vault -c gate.yaml", 2);
    refused(path, "keys rotate session -c gate.yaml --overlap 1d", 2);
    assert!(refused(path, "keys init -c absent.yaml", 3).contains("E0201"));
    assert!(refused(path, "keys rotate session -c gate.yaml", 3).contains("there is no key for `session` yet"));
    assert!(refused(path, "keys public -c gate.yaml", 3).contains("there is no key for `assertion` yet"));
    done(path, "keys init -c gate.yaml");

    let digests = fs::read(path.join("keys/digests.json")).unwrap();
    let said = refused(path, "keys rotate digests -c gate.yaml", 3);
    assert!(
        said.contains("principal_id") && said.contains("--danger-break-records"),
        "{said}"
    );
    assert_eq!(fs::read(path.join("keys/digests.json")).unwrap(), digests);
    done(path, "keys rotate digests -c gate.yaml --danger-break-records");
    assert_ne!(fs::read(path.join("keys/digests.json")).unwrap(), digests);

    fs::write(path.join("keys/session.json"), "{}").unwrap();
    for command in [
        "keys list -c gate.yaml",
        "keys init -c gate.yaml",
        "keys rotate session -c gate.yaml",
    ] {
        let said = refused(path, command, 3);
        assert!(said.contains("`keys/session.json` is no key file"), "{said}");
    }
    fs::write(path.join("gate.yaml"), CONFIG.replace("audit:", "audits:")).unwrap();
    assert!(refused(path, "keys init -c gate.yaml", 3).contains("nearest: `audit`"));
}

#[test]
fn the_key_of_an_earlier_gate_is_not_forgotten() {
    let folder = folder(CONFIG);
    let path = folder.path();
    fs::create_dir(path.join("audit")).unwrap();
    fs::write(path.join("audit/digest.key"), "0a".repeat(32)).unwrap();
    let said = refused(path, "keys init -c gate.yaml", 3);
    assert!(
        said.contains("`audit/digest.key`") && said.contains("`audit.digest_key`"),
        "{said}"
    );
    assert!(!path.join("keys").exists());
    let named = CONFIG.replace("directory: audit", "directory: audit, digest_key: audit/digest.key");
    fs::write(path.join("gate.yaml"), named).unwrap();
    let made = json(path, "keys init -c gate.yaml");
    assert_eq!(
        made["kept"],
        serde_json::json!([{"purpose": "digests", "source": "audit/digest.key"}])
    );
    let said = refused(path, "keys rotate digests -c gate.yaml --danger-break-records", 3);
    assert!(said.contains("outside the store"), "{said}");
}

/// A folder with a whole configuration, and without keys.
fn whole() -> TempDir {
    let folder = folder(
        "listen: [{address: \"127.0.0.1:0\"}]
audit: {directory: audit}
issuers: [{issuer: \"https://login.example.test\"}]
servers:
  - name: crm
    path: /crm/mcp
    resource: http://gate.test/crm/mcp
    issuers: [\"https://login.example.test\"]
    upstream: {url: \"http://127.0.0.1:9/mcp\"}
    tools: {rows: {crm.read: {scopes: [\"crm:read\"]}}}
    policy: {files: [policy.rego]}
",
    );
    let policy = "package portcullis\n\nrequest.decision := {}\n\nresponse.decision := {}\n";
    fs::write(folder.path().join("policy.rego"), policy).unwrap();
    folder
}

#[test]
fn a_missing_key_refuses_the_start_and_names_the_command() {
    let folder = whole();
    let path = folder.path();
    let all = "error[E0701 key_missing]: no key for `assertion` in `keys/assertion.json`, `digests` in `keys/digests.json`, \
               `dpop_nonce` in `keys/dpop_nonce.json`, `session` in `keys/session.json`: \
               `portcullis keys init -c gate.yaml` makes what is missing";
    for command in ["check -c gate.yaml", "run -c gate.yaml"] {
        let said = refused(path, command, 3);
        assert_eq!(said.lines().next(), Some(all), "{command}");
    }
    assert!(!path.join("audit").exists() && !path.join("keys").exists());
    let output = portcullis(path, "check -c gate.yaml --format json");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["diagnostics"][0]["code"], "E0701");

    done(path, "keys init -c gate.yaml");
    done(path, "check -c gate.yaml");
    for purpose in PURPOSES {
        let file = path.join(format!("keys/{purpose}.json"));
        let kept = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let said = refused(path, "run -c gate.yaml", 3);
        let line = format!(
            "error[E0701 key_missing]: no key for `{purpose}` in `keys/{purpose}.json`: \
             `portcullis keys init -c gate.yaml` makes what is missing"
        );
        assert_eq!(said.lines().next(), Some(line.as_str()));
        fs::write(&file, &kept[..kept.len() / 2]).unwrap();
        let said = refused(path, "run -c gate.yaml", 3);
        assert!(said.starts_with("error[E0702 key_unusable]"), "{said}");
        fs::write(&file, &kept).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(done(path, "check -c gate.yaml").contains("note: everybody on this machine can read the key file"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    // The digests' other source is not made silently either.
    let config = fs::read_to_string(path.join("gate.yaml")).unwrap();
    let named = config.replace("directory: audit", "directory: audit, digest_key: digest.key");
    fs::write(path.join("gate.yaml"), named).unwrap();
    let said = refused(path, "run -c gate.yaml", 3);
    assert!(said.contains("no key for `digests` in `digest.key`: "), "{said}");
    assert!(!path.join("digest.key").exists());
    done(path, "keys init -c gate.yaml");
    done(path, "check -c gate.yaml");
    assert_eq!(fs::read_to_string(path.join("digest.key")).unwrap().trim().len(), 64);
}

#[test]
fn a_running_gate_takes_a_rotated_key_up() {
    const RELOADED: &str = "configuration reloaded";
    const RESTART: &str = "another key is in the store: restart the gate to use it";
    let mut gate = Gate::start("");
    let path = gate.path("");
    let hangup = |message: &str| {
        let before = gate.logged(message).len();
        gate.signal("HUP");
        until(|| before < gate.logged(message).len());
    };
    hangup(RELOADED);
    assert!(gate.logged("session keys taken up").is_empty(), "nothing was new");

    done(&path, "keys rotate session -c gate.yaml --activate-after 1h");
    hangup(RELOADED);
    let ids: Vec<String> = stored_keys(&gate.path("keys/session.json"))
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    let taken = gate.logged("session keys taken up");
    assert_eq!((ids.len(), taken.len()), (2, 1));
    assert_eq!(taken[0]["keys"], ids.join(" "));

    assert!(gate.logged(RESTART).is_empty());
    let old = stored_keys(&gate.path("keys/digests.json")).pop().unwrap().0;
    done(&path, "keys rotate dpop_nonce -c gate.yaml");
    done(&path, "keys rotate digests -c gate.yaml --danger-break-records");
    hangup(RELOADED);
    let told: Vec<Value> = gate
        .logged(RESTART)
        .iter()
        .map(|line| line["purpose"].clone())
        .collect();
    assert_eq!(told, ["digests", "dpop_nonce"]);
    let new = stored_keys(&gate.path("keys/digests.json")).pop().unwrap().0;

    // A store that cannot be used changes nothing.
    let session = gate.path("keys/session.json");
    let kept = fs::read(&session).unwrap();
    fs::remove_file(&session).unwrap();
    hangup("reload refused, the old configuration stays in force");
    fs::write(&session, kept).unwrap();

    // Records name the key of their digests: the running gate's until it is started anew.
    let token = gate.token(&ALICE);
    let call = || Call::tools_call(Era::Modern, 1, "demo.echo", "{}").bearer(&token);
    assert_eq!(gate.call(&call()).status, 200);
    gate.terminate();
    assert!(gate.wait().success());
    gate.restart();
    assert_eq!(gate.call(&call()).status, 200);
    let records = gate.tail();
    let named = records.iter().filter(|record| record["phase"] == "request");
    let named: Vec<(&str, &str)> = named
        .map(|record| {
            let text = |value: &'static str| record.pointer(value).and_then(Value::as_str).unwrap();
            (text("/gate/digest_key"), text("/principal_id"))
        })
        .collect();
    let [(before, before_id), (after, after_id)] = named[..] else {
        panic!("{named:?}");
    };
    assert_eq!((before, after), (old.as_str(), new.as_str()));
    assert_ne!(before_id, after_id);
}

/// Each purpose has its row in the table of the page, with its file and the command that rotates it.
#[test]
fn the_page_about_keys_has_a_row_for_each_purpose() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/keys.md")).unwrap();
    for purpose in PURPOSES {
        let rows: Vec<&str> = { page.lines() }
            .filter(|line| line.starts_with(&format!("| `{purpose}` |")))
            .collect();
        let [row] = rows[..] else {
            panic!("{purpose} has {} rows", rows.len());
        };
        assert_eq!(row.matches(" | ").count(), 5, "{row}");
        assert!(row.contains(&format!("`{purpose}.json`")), "{row}");
        assert!(
            row.contains(&format!("`portcullis keys rotate {purpose} -c portcullis.yaml")),
            "{row}"
        );
    }
    // The commands on it are commands: each is taken apart as far as its file, which is not there.
    let empty = tempfile::tempdir().unwrap();
    let commands: BTreeSet<&str> = { page.split('`').chain(page.lines().map(str::trim_start)) }
        .filter_map(|text| text.strip_prefix("portcullis keys "))
        .map(|text| text.split(" #").next().unwrap().trim_end())
        .collect();
    assert!(8 <= commands.len(), "{commands:?}");
    for command in commands {
        let said = refused(empty.path(), &format!("keys {command}"), 3);
        assert!(
            said.contains("E0201") || said.contains("--danger-break-records"),
            "{command}: {said}"
        );
    }
    for later in ["checkpoint", "vault", "bundles"] {
        assert!(page.contains(&format!("`{later}`")), "{later}");
    }
}
