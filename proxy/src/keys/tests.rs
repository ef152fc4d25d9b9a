//! The store: what is made, what is read back, what is refused, and which key does what when.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use tempfile::TempDir;

use super::*;

fn at(secs: u64) -> UnixTime {
    UnixTime::from_secs(secs)
}

/// A store that holds all keys.
fn places_in(directory: &Path) -> KeyPlaces {
    KeyPlaces {
        directory: directory.to_path_buf(),
        digests: None,
    }
}

/// A folder with keys made at second 1,000.
fn made() -> (TempDir, KeyPlaces) {
    let folder = tempfile::tempdir().unwrap();
    let places = places_in(&folder.path().join("keys"));
    init(&places, at(1_000)).unwrap();
    (folder, places)
}

fn rotation(overlap_s: u64, activate_after_s: u64) -> Rotation {
    Rotation {
        overlap: Duration::from_secs(overlap_s),
        activate_after: Duration::from_secs(activate_after_s),
    }
}

/// The states of a purpose's keys, oldest first.
fn states(places: &KeyPlaces, purpose: Purpose, now: u64) -> Vec<&'static str> {
    let store = KeyStore::open(places).unwrap();
    let keys = store.keys(purpose).iter();
    keys.map(|key| store.state(purpose, key, at(now)).name()).collect()
}

#[test]
fn every_purpose_gets_one_key_once() {
    let folder = tempfile::tempdir().unwrap();
    let places = places_in(&folder.path().join("keys"));
    let empty = KeyStore::open(&places).unwrap();
    assert_eq!(empty.missing().collect::<Vec<_>>(), Purpose::ALL);
    assert!(empty.active(Purpose::Session, at(1_000)).is_none());

    let made = init(&places, at(1_000)).unwrap();
    assert_eq!(made.iter().map(|made| made.purpose).collect::<Vec<_>>(), Purpose::ALL);
    let texts = || Purpose::ALL.map(|purpose| fs::read(places.file(purpose)).unwrap());
    let before = texts();
    assert_eq!(init(&places, at(2_000)).unwrap(), []);
    assert_eq!(texts(), before);

    let store = KeyStore::open(&places).unwrap();
    assert_eq!(store.missing().count(), 0);
    assert!(store.readable_by_others().is_empty());
    for made in &made {
        let [key] = store.keys(made.purpose) else {
            panic!("{} has another number of keys", made.purpose);
        };
        assert_eq!((&key.id, key.from, key.until), (&made.id, at(1_000), None));
        assert_eq!(key.bytes().is_none(), made.purpose == Purpose::Assertion);
        assert!(key.secret.iter().any(|byte| *byte != 0));
        let mode = fs::metadata(&made.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let shown = format!("{key:?} {store:?}");
        assert!(!shown.contains("secret") && shown.contains(&key.id), "{shown}");
    }
    let mode = fs::metadata(&places.directory).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);

    fs::remove_file(places.file(Purpose::Session)).unwrap();
    let missing: Vec<_> = KeyStore::open(&places).unwrap().missing().collect();
    assert_eq!(missing, [Purpose::Session]);
    let again: Vec<_> = init(&places, at(3_000))
        .unwrap()
        .into_iter()
        .map(|made| made.purpose)
        .collect();
    assert_eq!(again, [Purpose::Session]);
}

#[test]
fn a_key_is_next_then_active_then_retiring_then_ended() {
    let (_folder, places) = made();
    let purpose = Purpose::Session;
    let first = KeyStore::open(&places).unwrap().keys(purpose)[0].id.clone();
    // A machine whose clock is behind has a key all the same.
    assert_eq!(states(&places, purpose, 0), ["active"]);

    let rotated = rotate(&places, purpose, rotation(100, 50), at(2_000)).unwrap();
    assert_eq!(
        (rotated.from, &rotated.retiring),
        (at(2_050), &(first.clone(), at(2_150)))
    );
    assert_eq!(rotated.dropped, [""; 0]);
    for (now, expected) in [
        (2_000, ["active", "next"]),
        (2_049, ["active", "next"]),
        (2_050, ["retiring", "active"]),
        (2_149, ["retiring", "active"]),
        (2_150, ["ended", "active"]),
        (9_999, ["ended", "active"]),
    ] {
        assert_eq!(states(&places, purpose, now), expected, "{now}");
    }
    assert_eq!(states(&places, Purpose::DpopNonce, 9_999), ["active"]);

    let again = rotate(&places, purpose, rotation(100, 0), at(2_200)).unwrap();
    assert_eq!(again.dropped, [first]);
    assert_eq!(again.retiring, (rotated.made.id, at(2_300)));
    assert_eq!(states(&places, purpose, 2_200), ["retiring", "active"]);
}

#[test]
fn a_key_that_has_not_begun_is_replaced_and_leaves_no_gap() {
    let (_folder, places) = made();
    let purpose = Purpose::Assertion;
    let first = rotate(&places, purpose, rotation(0, 50), at(2_000)).unwrap();
    let second = rotate(&places, purpose, rotation(0, 500), at(2_010)).unwrap();
    assert_eq!(second.dropped, [first.made.id]);
    assert_eq!(states(&places, purpose, 2_499), ["active", "next"]);
    assert_eq!(states(&places, purpose, 2_510), ["ended", "active"]);
    // A rotation in a hurry ends what still opens at once.
    rotate(&places, purpose, rotation(1_000, 0), at(3_000)).unwrap();
    assert_eq!(states(&places, purpose, 3_000), ["retiring", "active"]);
    rotate(&places, purpose, rotation(0, 0), at(3_010)).unwrap();
    assert_eq!(states(&places, purpose, 3_010), ["ended", "ended", "active"]);
}

#[test]
fn keys_do_not_pile_up_without_a_bound() {
    let (_folder, places) = made();
    let purpose = Purpose::DpopNonce;
    for count in 2..=16 {
        rotate(&places, purpose, rotation(10_000, 0), at(2_000)).unwrap();
        assert_eq!(states(&places, purpose, 2_000).len(), count);
    }
    let before = fs::read(places.file(purpose)).unwrap();
    let refused = rotate(&places, purpose, rotation(10_000, 0), at(2_000)).unwrap_err();
    assert!(matches!(refused, MakeError::TooMany(_)), "{refused}");
    assert_eq!(fs::read(places.file(purpose)).unwrap(), before);
    rotate(&places, purpose, rotation(10_000, 0), at(20_000)).unwrap();
    assert_eq!(states(&places, purpose, 20_000), ["retiring", "active"]);
}

#[test]
fn what_is_not_there_is_not_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let places = places_in(folder.path());
    let refused = rotate(&places, Purpose::Session, rotation(0, 0), at(1)).unwrap_err();
    assert_eq!(refused.to_string(), "there is no key for `session` yet");
    assert!(!places.file(Purpose::Session).exists());
}

/// The store's text for sessions after a rotation, changed.
#[track_caller]
fn check(from: &str, to: &str, expected: &str) {
    let (_folder, places) = made();
    let path = places.file(Purpose::Session);
    rotate(&places, Purpose::Session, rotation(100, 0), at(2_000)).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let store = KeyStore::open(&places).unwrap();
    let secrets: Vec<_> = store.keys(Purpose::Session).iter().map(|key| key.id.clone()).collect();
    let [first, second] = &secrets[..] else { panic!() };
    let changed = text.replacen(&from.replace("FIRST", first), &to.replace("SECOND", second), 1);
    assert_ne!(changed, text, "`{from}` is not there");
    fs::write(&path, &changed).unwrap();
    let refused = KeyStore::open(&places).unwrap_err().to_string();
    let said = refused.replace(first, "FIRST").replace(second, "SECOND");
    assert_eq!(said, format!("the key file `{}` {expected}", path.display()));
    // Neither command makes it worse.
    assert!(init(&places, at(3_000)).is_err() && rotate(&places, Purpose::Session, rotation(0, 0), at(3_000)).is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), changed);
}

#[test]
fn a_file_that_was_not_written_like_this_is_refused() {
    check(
        "\"version\": 1",
        "\"version\": 2",
        "has version 2; this gate reads version 1",
    );
    check(
        "\"session\"",
        "\"digests\"",
        "holds keys for `digests`, not for `session`",
    );
    check(
        "\"session\"",
        "\"ses\"",
        "holds keys for `something else`, not for `session`",
    );
    check(
        "\"secret\": \"",
        "\"secret\": \"AAAA",
        "is damaged: the key `FIRST` does not belong to its id",
    );
    check(
        "\"secret\": \"",
        "\"secret\": \"=",
        "is damaged: the key `FIRST` does not belong to its id",
    );
    check(
        "\"id\": \"FIRST",
        "\"id\": \"SECOND",
        "is damaged: the key `SECOND` does not belong to its id",
    );
    check(
        "\"until\": 2100",
        "\"until\": 999",
        "is damaged: its keys are not in the order of their times",
    );
    check(
        "\"from\": 2000",
        "\"from\": 999",
        "is damaged: its keys are not in the order of their times",
    );
    let ends = "is damaged: the last key must have no `until`, and every other one must";
    check("\"until\": 2100", "\"until\": null", ends);
    check("\"until\": null", "\"until\": 3000", ends);
    check("\"version\": 1,", "", "is no key file (line 8, column 1)");
    check(
        "\"version\": 1",
        "\"version\": 1, \"more\": 1",
        "is no key file (line 2, column 22)",
    );
    check("\"from\": 1000", "\"from\": -1", "is no key file (line 5, column 33)");
}

#[test]
fn a_torn_or_foreign_file_is_refused_and_nothing_of_it_is_told() {
    let (_folder, places) = made();
    let path = places.file(Purpose::Session);
    let text = fs::read_to_string(&path).unwrap();
    let secret = text
        .split("\"secret\": \"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    for length in 0..text.trim_end().len() {
        fs::write(&path, &text.as_bytes()[..length]).unwrap();
        let refused = KeyStore::open(&places).unwrap_err().to_string();
        assert!(!refused.contains(&secret), "{refused}");
    }
    let misplaced = text.replacen("\"from\": 1000", &format!("\"from\": \"{secret}\""), 1);
    let twice = text.replacen(
        "[",
        &format!("[{},", text.split('[').nth(1).unwrap().split(']').next().unwrap()),
        1,
    );
    let foreign = fs::read_to_string(places.file(Purpose::DpopNonce)).unwrap();
    let unsigned = text.replace("session", "assertion");
    for wrong in [
        misplaced,
        twice,
        foreign,
        unsigned,
        format!("{text}{text}"),
        "x".repeat(20_000),
    ] {
        fs::write(&path, &wrong).unwrap();
        let refused = KeyStore::open(&places).unwrap_err().to_string();
        assert!(!refused.contains(&secret), "{refused}");
    }
    fs::write(&path, &text).unwrap();
    KeyStore::open(&places).unwrap();
    // 32 bytes are no key that signs, and one that signs is no 32 bytes.
    let shape = |purpose: Purpose, other: Purpose| {
        let keys = KeyStore::open(&places).unwrap().keys(other).to_vec();
        let keys = keys.into_iter().map(|key| StoredKey {
            id: file::id_of(purpose, &key.secret),
            ..key
        });
        file::parse(&file::render(purpose, &keys.collect::<Vec<_>>()), purpose).is_ok()
    };
    assert!(shape(Purpose::DpopNonce, Purpose::Session));
    assert!(!shape(Purpose::Assertion, Purpose::Session) && !shape(Purpose::Session, Purpose::Assertion));
    // A folder is no file, whatever its name.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let refused = KeyStore::open(&places).unwrap_err().to_string();
    assert!(refused.ends_with("is no file"), "{refused}");
}

#[test]
fn a_file_of_the_wrong_mode_is_told_or_refused() {
    let (folder, places) = made();
    let path = places.file(Purpose::Digests);
    let check = |mode: u32, readable: Option<bool>| {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let told = KeyStore::open(&places).map(|store| !store.readable_by_others().is_empty());
        assert_eq!(told.ok(), readable, "{mode:o}");
    };
    check(0o600, Some(false));
    check(0o440, Some(false));
    check(0o644, Some(true));
    check(0o602, None);
    check(0o666, None);
    check(0o600, Some(false));
    // As secrets are mounted: a link to a file elsewhere.
    let elsewhere = folder.path().join("mounted");
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert_eq!(KeyStore::open(&places).unwrap().missing().count(), 0);
}

#[test]
fn a_key_that_was_not_renamed_in_time_is_written_anew() {
    let (_folder, places) = made();
    let left = places.directory.join("session.json.new");
    fs::write(&left, "half").unwrap();
    rotate(&places, Purpose::Session, rotation(0, 0), at(2_000)).unwrap();
    assert!(!left.exists());
    assert_eq!(states(&places, Purpose::Session, 2_000), ["ended", "active"]);
}

#[test]
fn the_digests_key_may_lie_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let places = KeyPlaces {
        directory: folder.path().join("keys"),
        digests: Some(folder.path().join("audit/digest.key")),
    };
    let path = places.file(Purpose::Digests);
    init(&places, at(1_000)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!((text.len(), text.ends_with('\n')), (65, true));
    assert!(!places.directory.join("digests.json").exists());
    let store = KeyStore::open(&places).unwrap();
    let key = store.active(Purpose::Digests, at(5)).unwrap();
    // The same key has the same name in the store.
    assert_eq!(key.id, file::id_of(Purpose::Digests, &key.secret));
    let refused = rotate(&places, Purpose::Digests, rotation(0, 0), at(2_000)).unwrap_err();
    assert!(matches!(refused, MakeError::Outside(..)), "{refused}");
    rotate(&places, Purpose::Session, rotation(0, 0), at(2_000)).unwrap();

    let check = |text: &str, good: bool| {
        fs::write(&path, text).unwrap();
        assert_eq!(KeyStore::open(&places).is_ok(), good, "{text}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    };
    check(&"0a".repeat(32), true);
    check(&format!("{}\n", "AF".repeat(32)), true);
    check("", false);
    check(&"0a".repeat(31), false);
    check(&"0a".repeat(33), false);
    check(&"+a".repeat(32), false);
    check(&"0g".repeat(32), false);
    check(&"0a".repeat(200), false);
}

#[test]
fn the_public_keys_verify_what_the_private_ones_sign_and_end_with_them() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

    let (_folder, places) = made();
    rotate(&places, Purpose::Assertion, rotation(100, 50), at(2_000)).unwrap();
    let store = KeyStore::open(&places).unwrap();
    let kids = |now: u64| -> Vec<String> {
        let set = public_jwks(&store, at(now));
        let keys = set["keys"].as_array().unwrap().iter();
        keys.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    };
    let ids: Vec<String> = store
        .keys(Purpose::Assertion)
        .iter()
        .map(|key| key.id.clone())
        .collect();
    assert_eq!(kids(2_000), ids, "the next one is shown before it signs");
    assert_eq!(kids(2_149), ids, "the retiring one is shown as long as it holds");
    assert_eq!(kids(2_150), ids[1..]);

    let set = public_jwks(&store, at(2_000));
    for (shown, key) in set["keys"]
        .as_array()
        .unwrap()
        .iter()
        .zip(store.keys(Purpose::Assertion))
    {
        let members: Vec<&str> = shown.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
        assert_eq!((&shown["alg"], &shown["use"]), (&"ES256".into(), &"sig".into()));
        let part = |name: &str| URL_SAFE_NO_PAD.decode(shown[name].as_str().unwrap()).unwrap();
        let point = [vec![4], part("x"), part("y")].concat();
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.secret, &random).unwrap();
        let signature = pair.sign(&random, b"assertion").unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        public.verify(b"assertion", signature.as_ref()).unwrap();
        public.verify(b"another", signature.as_ref()).unwrap_err();
    }
}

#[test]
fn a_purpose_has_one_name() {
    for purpose in Purpose::ALL {
        assert_eq!(Purpose::from_name(purpose.name()), Some(purpose));
    }
    assert_eq!(Purpose::from_name("Session"), None);
}
