//! Bundles that are taken, and their refused neighbours.

use std::io::Write as _;

use super::*;
use crate::policy::Policy;

mod archives;
mod deltas;
mod signatures;

const REQUEST: &str =
    "package portcullis.request\n\ndecision := {\"allow\": data.limits.open, \"rule\": \"r\", \"reason\": \"\"}\n";
const RESPONSE: &str =
    "package portcullis.response\n\ndecision := {\"allow\": true, \"rule\": \"r\", \"reason\": \"\"}\n";
const LIMITS: BundleLimits = BundleLimits {
    packed_bytes_max: 1 << 20,
    unpacked_bytes_max: 1 << 20,
    rego_bytes_max: 1 << 16,
    files_max: 32,
    path_bytes_max: 64,
};

/// The files of a small bundle.
fn sample() -> Vec<(&'static str, &'static str)> {
    vec![
        (
            ".manifest",
            r#"{"revision": "r1", "roots": ["portcullis", "limits"], "metadata": {"by": "x"}}"#,
        ),
        ("portcullis/request.rego", REQUEST),
        ("portcullis/response.rego", RESPONSE),
        ("limits/data.json", r#"{"open": true, "names": ["a", "b"]}"#),
        ("README.md", "not read"),
    ]
}

fn with(
    mut files: Vec<(&'static str, &'static str)>,
    name: &'static str,
    text: &'static str,
) -> Vec<(&'static str, &'static str)> {
    files.retain(|(known, _)| *known != name);
    files.push((name, text));
    files
}

/// The bytes of a bundle, without a look at what stands in it.
fn packed(files: &[(&str, &str)]) -> Vec<u8> {
    let files = files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
    archive::pack(&files.collect()).unwrap()
}

fn take(bytes: &[u8]) -> Result<Bundle, BundleError> {
    match read(bytes, &LIMITS, Signatures::Absent)? {
        Content::Snapshot(bundle) => Ok(bundle),
        Content::Delta(_) => panic!("a delta"),
    }
}

fn refusal(files: &[(&str, &str)]) -> String {
    take(&packed(files)).unwrap_err().to_string()
}

#[test]
fn a_bundle_gives_its_modules_and_its_data_at_their_places() {
    let bundle = take(&packed(&sample())).unwrap();
    assert_eq!(bundle.manifest().revision(), "r1");
    assert_eq!(bundle.manifest().metadata_json(), r#"{"by":"x"}"#);
    let source = bundle.source();
    let names: Vec<&str> = source.modules.iter().map(|module| module.name.as_str()).collect();
    assert_eq!(names, ["portcullis/request.rego", "portcullis/response.rego"]);
    assert_eq!(source.data[0].text, r#"{"limits":{"names":["a","b"],"open":true}}"#);
    Policy::compile(&source, 1).unwrap();
}

#[test]
fn data_of_several_files_and_of_yaml_is_merged_and_never_overwritten() {
    let files = vec![
        ("data.json", r#"{"a": {"x": 1.50}}"#),
        ("a/data.yaml", "z: [1, true, null, \"t\"]\n"),
        ("a/b/data.json", "7"),
    ];
    let bundle = take(&packed(&files)).unwrap();
    assert_eq!(
        bundle.source().data[0].text,
        r#"{"a":{"b":7,"x":1.50,"z":[1,true,null,"t"]}}"#
    );
    let conflicts = [
        (with(files.clone(), "a/data.json", r#"{"x": 2}"#), "data/a/x"),
        (with(files.clone(), "a/x/data.json", "2"), "data/a/x"),
        (with(files.clone(), "a/b/c/data.json", "2"), "data/a/b"),
    ];
    for (files, at) in conflicts {
        assert!(
            refusal(&files).ends_with(&format!("brings a second value for `{at}`")),
            "{}",
            refusal(&files)
        );
    }
}

#[test]
fn what_cannot_be_read_one_way_is_refused() {
    let cases = [
        ("data.json", "[]", "the data at the root is no object"),
        ("data.json", r#"{"a": 1, "a": 2}"#, "an object has a key twice"),
        (
            "data.json",
            r#"{"a": 9007199254740993}"#,
            "a number loses its value as a double",
        ),
        ("data.json", "{", "the text is not one JSON document in UTF-8"),
        ("data.yaml", "a: 1\na: 2\n", "duplicate"),
        ("data.yaml", "a: yes\n", "`yes` is a boolean to some readers of YAML"),
        (
            "data.yaml",
            "a: 9007199254740993\n",
            "a number loses its value as a double",
        ),
        ("policy.wasm", "", "built for WebAssembly"),
        ("plan.json", "{}", "built for WebAssembly or as a plan"),
        ("x/y.rego", "package", "x/y.rego:1:"),
        (
            "x/y.rego",
            "package elsewhere",
            "`elsewhere` (x/y.rego:1) is outside of the roots",
        ),
        (
            "elsewhere/data.json",
            "1",
            "data at `elsewhere` is outside of the roots",
        ),
        (".manifest", "[]", "it is no JSON object"),
        (".manifest", r#"{"rego_version": 0}"#, "Rego v0 is not supported"),
        (
            ".manifest",
            r#"{"file_rego_versions": {"/x.rego": 0}}"#,
            "Rego v0 is not supported",
        ),
        (".manifest", r#"{"rego_version": 2}"#, "neither 0 nor 1"),
        (".manifest", r#"{"revision": 7}"#, "`revision` is no text"),
        (
            ".manifest",
            r#"{"roots": ["a/b", "/a/"]}"#,
            "the roots `a/b` and `a` overlap",
        ),
        (
            ".manifest",
            r#"{"roots": ["portcullis/request"]}"#,
            "is outside of the roots",
        ),
        (
            ".manifest",
            r#"{"wasm": [{"entrypoint": "a", "module": "/policy.wasm"}]}"#,
            "built for WebAssembly",
        ),
        (
            ".signatures.json",
            "{}",
            "the bundle is signed, and no keys are configured",
        ),
    ];
    for (name, text, reason) in cases {
        let said = refusal(&with(sample(), name, text));
        assert!(said.contains(reason), "{name} {text}: {said}");
    }
    take(&packed(&with(
        sample(),
        ".manifest",
        r#"{"rego_version": 1, "wasm": [], "more": 1}"#,
    )))
    .unwrap();
}

#[test]
fn the_digest_tells_what_a_bundle_says_and_not_how_it_is_packed() {
    let first = take(&packed(&sample())).unwrap().digest();
    let spaced = with(
        sample(),
        "limits/data.json",
        "{\"names\" : [\"a\",\"b\"],\"open\":true}\n",
    );
    assert_eq!(take(&packed(&spaced)).unwrap().digest(), first);
    let unread = with(sample(), "README.md", "other");
    assert_eq!(take(&packed(&unread)).unwrap().digest(), first);
    let others = [
        with(sample(), "limits/data.json", r#"{"open": false, "names": ["a", "b"]}"#),
        with(sample(), "portcullis/more.rego", "package portcullis.more\n"),
        with(
            sample(),
            ".manifest",
            r#"{"revision": "r2", "roots": ["portcullis", "limits"], "metadata": {"by": "x"}}"#,
        ),
    ];
    for other in others {
        assert_ne!(take(&packed(&other)).unwrap().digest(), first);
    }
}

#[test]
fn what_is_built_is_the_same_each_time_and_read_back() {
    let files = || {
        sample()
            .into_iter()
            .map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()))
    };
    let built = build(files(), Some("r9"), &LIMITS).unwrap();
    assert_eq!(built, build(files().rev(), Some("r9"), &LIMITS).unwrap());
    let bundle = take(&built).unwrap();
    assert_eq!(bundle.manifest().revision(), "r9");
    assert_eq!(bundle.manifest().roots().collect::<Vec<_>>(), ["portcullis", "limits"]);
    let again = take(&bundle.to_bytes().unwrap()).unwrap();
    assert_eq!(again.digest(), bundle.digest());
    let twice = [("a.rego", "x"), ("./a.rego", "y")].map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
    assert!(
        build(twice, None, &LIMITS)
            .unwrap_err()
            .to_string()
            .contains("stands twice")
    );
}

#[test]
fn a_history_knows_what_was_replaced() {
    let digests: Vec<BundleDigest> = (0..4).map(|number| BundleDigest([number; 32])).collect();
    let mut history = History::default();
    assert_eq!(history.standing(digests[0]), Standing::New);
    history.activate(digests[0]);
    history.activate(digests[0]);
    assert_eq!(history.standing(digests[0]), Standing::Active);
    history.activate(digests[1]);
    history.applied(digests[3]);
    assert_eq!(history.standing(digests[0]), Standing::Replaced);
    assert_eq!(history.standing(digests[3]), Standing::Replaced);
    assert_eq!(history.standing(digests[2]), Standing::New);
    let text = history.to_text();
    assert_eq!(History::parse(&text).unwrap(), history);
    assert_eq!(History::parse("").unwrap(), History::default());
    // Allowed back by a setting: it rules, and what it replaced is past.
    history.activate(digests[0]);
    assert_eq!(history.standing(digests[0]), Standing::Active);
    assert_eq!(history.standing(digests[1]), Standing::Replaced);
    for end in 1..text.len() - 1 {
        let cut = text.get(..end).unwrap();
        assert!(History::parse(cut).is_err(), "a cut text is not taken: {cut:?}");
    }
    for wrong in ["active", "active xyz\n", "other 00\n"] {
        History::parse(wrong).unwrap_err();
    }
}
