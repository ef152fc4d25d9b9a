//! Every vector of project Wycheproof that concerns us, through the public API: nothing invalid is accepted, and every
//! valid one of our profile is.
//!
//! Takes each file in `wycheproof` below `$PORTCULLIS_CORPORA`, whatever its name: what a group is for stands in its
//! `type`. Each exception is one line with its reason; it only ever makes us stricter. Says to stdout, which the test
//! harness does not hold back, how many cases of each file were run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use serde_json::Value;

mod documents;
mod signatures;

/// In the names of files that concern us; there may be others.
const NAMES: [&str; 11] = [
    "ecdsa",
    "ed25519",
    "ed448",
    "eddsa",
    "json_web",
    "jwk",
    "jws",
    "rsa_pss",
    "rsa_sig",
    "rsassa",
    "webcrypto",
];

/// What a group of vectors is about.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Family {
    /// ECDSA; whether its signatures are DER, which no JWS has.
    Ecdsa { der: bool },
    /// Ed25519 and Ed448.
    Eddsa,
    /// JWK key pairs of a key agreement.
    Jwk,
    /// JWS, JWE and JWK sets.
    Jws,
    /// RSASSA-PKCS1-v1_5.
    Pkcs1,
    /// RSASSA-PSS.
    Pss,
}

impl Family {
    /// By the group's `type`; the file's `algorithm` and `schema` help where that says nothing.
    fn of(document: &Value, group: &Value) -> Option<Self> {
        let said = |value: &Value| value.as_str().unwrap_or_default().to_ascii_lowercase();
        let (kind, schema) = (said(&group["type"]), said(&document["schema"]));
        let has = |word: &str| kind.contains(word) || (kind.is_empty() && schema.contains(word));
        match () {
            () if has("ecdsa") => Some(Self::Ecdsa { der: !has("p1363") }),
            () if has("eddsa") || has("ed25519") || has("ed448") => Some(Self::Eddsa),
            () if has("rsassapkcs1") || has("rsassa_pkcs1") => Some(Self::Pkcs1),
            () if has("rsassapss") || has("rsassa_pss") => Some(Self::Pss),
            () if has("jsonweb") || has("json_web") || has("jws") => Some(Self::Jws),
            () if has("jwk") || has("webcrypto") => Some(Self::Jwk),
            () => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Ecdsa { der: true } => "ECDSA in DER",
            Self::Ecdsa { der: false } => "ECDSA",
            Self::Eddsa => "EdDSA",
            Self::Jwk => "JWK",
            Self::Jws => "JWS",
            Self::Pkcs1 => "RSASSA-PKCS1-v1_5",
            Self::Pss => "RSASSA-PSS",
        }
    }
}

/// What Wycheproof expects of one case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Expected {
    Acceptable,
    Invalid,
    Valid,
}

impl Expected {
    fn of(case: &Value) -> Self {
        match case["result"].as_str() {
            Some("valid") => Self::Valid,
            Some("acceptable") => Self::Acceptable,
            // What says nothing is treated as what must not pass.
            Some(_) | None => Self::Invalid,
        }
    }
}

/// What came of the cases of a file, or of several.
#[derive(Debug, Default)]
struct Tally {
    cases: usize,
    /// Of our profile, and accepted.
    accepted: usize,
    refused: usize,
    /// Cases whose verdict is not Wycheproof's own, by the reason.
    exceptions: BTreeMap<String, usize>,
}

impl Tally {
    /// Counts one case; `outside` is the reason why it is not of our profile, if it is not.
    #[track_caller]
    fn count(&mut self, case: &Value, accepted: bool, outside: Option<&str>) {
        let expected = Expected::of(case);
        self.cases += 1;
        match (accepted, expected, outside) {
            (true, Expected::Valid | Expected::Acceptable, None) => self.accepted += 1,
            (true, Expected::Invalid, _) => panic!("accepted what is invalid: {case}"),
            (true, _, Some(reason)) => panic!("accepted although {reason}: {case}"),
            (false, Expected::Invalid, _) => self.refused += 1,
            (false, Expected::Acceptable, None) => self.except("acceptable to some, refused here"),
            (false, Expected::Valid, None) => panic!("refused what is valid: {case}"),
            (false, Expected::Valid | Expected::Acceptable, Some(reason)) => self.except(&format!("refused: {reason}")),
        }
    }

    fn except(&mut self, reason: &str) {
        *self.exceptions.entry(reason.to_owned()).or_default() += 1;
    }

    fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.accepted += other.accepted;
        self.refused += other.refused;
        for (reason, count) in other.exceptions {
            *self.exceptions.entry(reason).or_default() += count;
        }
    }
}

/// The folder, or `None` after one line that says so. Its absence is a failure where CI sets `CI=true`.
#[expect(clippy::disallowed_methods, reason = "a test is its own embedder")]
fn corpus() -> Option<PathBuf> {
    let root = env::var_os("PORTCULLIS_CORPORA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora"),
        PathBuf::from,
    );
    let path = root.join("wycheproof");
    if path.is_dir() {
        return Some(path);
    }
    assert_ne!(env::var("CI").as_deref(), Ok("true"), "corpus wycheproof is absent");
    say("left out: corpus wycheproof is absent");
    None
}

/// A line that the harness does not capture.
fn say(line: &str) {
    writeln!(io::stdout().lock(), "wycheproof: {line}").unwrap();
}

/// Every JSON file below a folder, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut folders, mut found) = (vec![folder.to_path_buf()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "json") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Runs the groups of one file that concern us; gives what was run by family, and the cases that were left out.
fn run(document: &Value) -> (BTreeMap<Family, Tally>, usize) {
    let (mut run, mut left_out) = (BTreeMap::<Family, Tally>::new(), 0);
    for group in document["testGroups"].as_array().into_iter().flatten() {
        let Some(family) = Family::of(document, group) else {
            left_out += group["tests"].as_array().map_or(0, Vec::len);
            continue;
        };
        let tally = match family {
            Family::Jwk => documents::agreement(group),
            Family::Jws => documents::json_web(group),
            Family::Ecdsa { .. } | Family::Eddsa | Family::Pkcs1 | Family::Pss => signatures::run(family, group),
        };
        run.entry(family).or_default().add(tally);
    }
    (run, left_out)
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test reads its vectors")]
fn every_vector_has_the_verdict_of_wycheproof() {
    let Some(folder) = corpus() else {
        return;
    };
    let (mut totals, mut left_out) = (BTreeMap::<Family, Tally>::new(), Vec::new());
    for path in files(&folder) {
        let name = path.strip_prefix(&folder).unwrap().display().to_string();
        let document: Value = match serde_json::from_slice(&fs::read(&path).unwrap()) {
            Ok(document) => document,
            Err(error) => panic!("{name}: {error}"),
        };
        let (run, cases) = run(&document);
        if cases > 0 || run.is_empty() {
            // A file whose name promises one of the families must not slip through for want of a known `type`.
            assert!(
                !NAMES.iter().any(|part| name.contains(part)),
                "{name} was not understood"
            );
            left_out.push(format!("{name} ({cases})"));
        }
        for (family, tally) in run {
            let mut line = format!("{name}: {}: {} cases run", family.name(), tally.cases);
            write!(
                line,
                ", {} accepted, {} invalid ones refused",
                tally.accepted, tally.refused
            )
            .unwrap();
            say(&line);
            for (reason, count) in &tally.exceptions {
                say(&format!("{name}: exception, {count} cases: {reason}"));
            }
            assert!(tally.cases > 0, "{name} has a group without cases");
            totals.entry(family).or_default().add(tally);
        }
    }
    if !left_out.is_empty() {
        say(&format!("left out, of other families: {}", left_out.join(", ")));
    }
    let cases: usize = totals.values().map(|tally| tally.cases).sum();
    let whole = |count: fn(&Tally) -> usize| totals.values().map(count).sum::<usize>() > 0;
    assert!(
        whole(|tally| tally.accepted) && whole(|tally| tally.refused),
        "{cases} cases say nothing"
    );
    say(&format!("{cases} cases run"));
}

#[test]
fn groups_are_known_by_what_they_say() {
    for (kind, expected) in [
        ("EcdsaVerify", Some(Family::Ecdsa { der: true })),
        ("EcdsaBitcoinVerify", Some(Family::Ecdsa { der: true })),
        ("EcdsaP1363Verify", Some(Family::Ecdsa { der: false })),
        ("EddsaVerify", Some(Family::Eddsa)),
        ("EDDSAVer", Some(Family::Eddsa)),
        ("RsassaPkcs1Verify", Some(Family::Pkcs1)),
        ("RsassaPkcs1Generate", Some(Family::Pkcs1)),
        ("RsassaPssVerify", Some(Family::Pss)),
        ("RsassaPssWithParametersVerify", Some(Family::Pss)),
        ("JsonWebCrypto", Some(Family::Jws)),
        ("JsonWebSignature", Some(Family::Jws)),
        ("JsonWebKey", Some(Family::Jws)),
        ("EcdhWebcryptoTest", Some(Family::Jwk)),
        ("XdhJwkComp", Some(Family::Jwk)),
        ("AeadTest", None),
        ("RsaesOaepDecrypt", None),
        ("MlDsaVerify", None),
    ] {
        let group = serde_json::json!({ "type": kind });
        assert_eq!(Family::of(&Value::Null, &group), expected, "{kind}");
    }
}
