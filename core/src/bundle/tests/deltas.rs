//! Delta bundles.

use super::*;

fn delta(files: &[(&str, &str)]) -> Result<Delta, BundleError> {
    match read(&packed(files), &LIMITS, Signatures::Absent)? {
        Content::Delta(delta) => Ok(delta),
        Content::Snapshot(_) => panic!("a snapshot"),
    }
}

const MANIFEST: &str = r#"{"revision": "r2", "roots": ["limits", "portcullis"]}"#;

/// The data after one operation on `{"limits": {"names": ["a", "b"], "open": true}}`.
fn after(operation: &str) -> Result<String, String> {
    let patch = format!("{{\"data\": [{operation}]}}");
    let bundle = take(&packed(&sample())).unwrap();
    let changed = delta(&[(".manifest", MANIFEST), ("patch.json", &patch)]).and_then(|delta| bundle.apply(&delta));
    let changed = changed.map_err(|error| error.to_string())?;
    assert_eq!(changed.manifest().revision(), "r2");
    assert_ne!(changed.digest(), bundle.digest());
    assert_eq!(changed.source().modules.len(), 2);
    Ok(changed.source().data[0].text.clone())
}

#[test]
fn each_operation_does_what_opa_says() {
    let cases = [
        (
            r#"{"op": "upsert", "path": "/limits/open", "value": false}"#,
            r#"{"limits":{"names":["a","b"],"open":false}}"#,
        ),
        (
            r#"{"op": "upsert", "path": "limits/x/y%2Fz", "value": 1}"#,
            r#"{"limits":{"names":["a","b"],"open":true,"x":{"y/z":1}}}"#,
        ),
        (
            r#"{"op": "upsert", "path": "/limits/names/-", "value": "c"}"#,
            r#"{"limits":{"names":["a","b","c"],"open":true}}"#,
        ),
        (
            r#"{"op": "upsert", "path": "/limits/names/0", "value": "c"}"#,
            r#"{"limits":{"names":["c","a","b"],"open":true}}"#,
        ),
        (
            r#"{"op": "replace", "path": "/limits/names/1", "value": "c"}"#,
            r#"{"limits":{"names":["a","c"],"open":true}}"#,
        ),
        (
            r#"{"op": "remove", "path": "/limits/names/0"}"#,
            r#"{"limits":{"names":["b"],"open":true}}"#,
        ),
        (
            r#"{"op": "remove", "path": "/limits/names"}"#,
            r#"{"limits":{"open":true}}"#,
        ),
    ];
    for (operation, data) in cases {
        assert_eq!(after(operation).as_deref(), Ok(data), "{operation}");
    }
}

#[test]
fn what_it_does_not_find_changes_nothing() {
    let cases = [
        (
            r#"{"op": "replace", "path": "/limits/none", "value": 1}"#,
            "operation 1 finds nothing",
        ),
        (
            r#"{"op": "remove", "path": "/limits/none"}"#,
            "operation 1 finds nothing",
        ),
        (
            r#"{"op": "remove", "path": "/limits/names/2"}"#,
            "operation 1 finds nothing",
        ),
        (
            r#"{"op": "remove", "path": "/limits/names/00"}"#,
            "operation 1 finds nothing",
        ),
        (
            r#"{"op": "upsert", "path": "/limits/names/9", "value": 1}"#,
            "operation 1 finds nothing",
        ),
        (
            r#"{"op": "upsert", "path": "/limits/open/x", "value": 1}"#,
            "operation 1 finds nothing",
        ),
        (
            r#"{"op": "upsert", "path": "/other", "value": 1}"#,
            "a patch at `other` is outside of the roots",
        ),
        (
            r#"{"op": "remove", "path": "/"}"#,
            "a patch at `` is outside of the roots",
        ),
        (r#"{"op": "upsert", "path": "/limits//x", "value": 1}"#, "an empty part"),
        (
            r#"{"op": "upsert", "path": "/limits/%zz", "value": 1}"#,
            "percent-encoded",
        ),
        (r#"{"op": "upsert", "path": "/limits/x"}"#, "has no `value`"),
        (
            r#"{"op": "add", "path": "/limits/x", "value": 1}"#,
            "an `op` is none of",
        ),
        (r#"{"op": "upsert", "value": 1}"#, "has no `path`"),
    ];
    for (operation, reason) in cases {
        let said = after(operation).unwrap_err();
        assert!(said.contains(reason), "{operation}: {said}");
    }
}

#[test]
fn a_delta_holds_its_patch_alone_and_fits_its_bundle() {
    let patch = r#"{"data": [{"op": "upsert", "path": "/limits/open", "value": false}]}"#;
    for (name, text) in [("a.rego", "package a"), ("data.json", "{}"), ("README.md", "")] {
        let said = delta(&[(name, text), ("patch.json", patch)]).unwrap_err().to_string();
        assert!(said.contains("holds `patch.json` and `.manifest` alone"), "{said}");
    }
    delta(&[("patch.json", "[]")]).unwrap_err();
    let other = r#"{"revision": "r2", "roots": ["limits"]}"#;
    let other = delta(&[(".manifest", other), ("patch.json", patch)]).unwrap();
    assert_eq!(
        take(&packed(&sample())).unwrap().apply(&other).unwrap_err(),
        BundleError::Roots
    );
    // The same operations under another revision are another delta.
    let [first, again, next] = [
        MANIFEST,
        MANIFEST,
        r#"{"revision": "r3", "roots": ["limits", "portcullis"]}"#,
    ]
    .map(|manifest| {
        delta(&[(".manifest", manifest), ("patch.json", patch)])
            .unwrap()
            .digest()
    });
    assert_eq!(first, again);
    assert_ne!(first, next);
}
