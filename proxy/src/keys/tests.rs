//! The store: what is made, what is read back, what is refused, and who does what when.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn at(secs: u64) -> UnixTime {
    UnixTime::from_secs(secs)
}

#[test]
fn every_purpose_gets_one_key_once() {
    let folder = tempfile::tempdir().unwrap();
    let places = KeyPlaces::of(&folder.path().join("keys"));
    let empty = KeyStore::open(&places.directory).unwrap();
    assert_eq!(empty.missing().collect::<Vec<_>>(), Purpose::ALL);
    let made = init(&places, at(1_000)).unwrap();
    assert_eq!(made.iter().map(|made| made.purpose).collect::<Vec<_>>(), Purpose::ALL);
    assert_eq!(init(&places, at(2_000)).unwrap(), []);
    let store = KeyStore::open(&places.directory).unwrap();
    assert_eq!(store.missing().count(), 0);
    for made in &made {
        let [key] = store.keys(made.purpose) else {
            panic!("{} has another number of keys", made.purpose);
        };
        assert_eq!((&key.id, key.from, key.until), (&made.id, at(1_000), None));
        assert_eq!(key.bytes().is_none(), made.purpose == Purpose::Assertion);
        let mode = fs::metadata(&made.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let mode = fs::metadata(&places.directory).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
