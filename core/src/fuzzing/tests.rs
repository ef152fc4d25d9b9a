//! The fuzz targets without a fuzzer: each over its committed corpus, and over mutations of it with a fixed seed.

use std::fs;
use std::path::Path;

/// Mutations of each text of a corpus.
const ROUNDS: usize = 400;

/// Pieces that mean something to one of the readers.
const PIECES: &[&[u8]] = &[
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b" ",
    b"0",
    b"9",
    b"-",
    b".",
    b"e9",
    b"\\u0061",
    b"\\ud800",
    b"\xc3",
    "é".as_bytes(),
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\0",
    b"null",
    b"\"id\":1,",
    b"\"name\":\"b\",",
    b"data: ",
    b"data",
    b"id:",
    b"event:x",
    b"\xef\xbb\xbf",
    b"=?base64?",
    b"?=",
    b"=",
    b"A",
    b"9007199254740992",
    b"00000000000000000000",
    b"Name",
    "\u{17f}".as_bytes(),
];

fn draws(mut state: u64) -> impl FnMut(usize) -> usize {
    move |below| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    }
}

#[track_caller]
fn holds(target: &str, check: fn(&[u8]) -> Result<(), &'static str>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "the corpus is empty");
    let mut draw = draws(0x9e37_79b9_7f4a_7c15);
    for path in paths {
        let seed = fs::read(&path).unwrap();
        assert_eq!(check(&seed), Ok(()), "{}", path.display());
        for round in 0..ROUNDS {
            let mut text = seed.clone();
            for _ in 0..=draw(4) {
                let at = draw(text.len() + 1);
                let until = (at + draw(4)).min(text.len());
                text.splice(at..until, PIECES[draw(PIECES.len())].iter().copied());
            }
            assert_eq!(
                check(&text),
                Ok(()),
                "{} in round {round}: {:?}",
                path.display(),
                String::from_utf8_lossy(&text)
            );
        }
    }
}

#[test]
fn calls_are_what_serde_json_reads() {
    holds("call", super::call);
}

#[test]
fn replies_are_what_serde_json_reads() {
    holds("reply", super::reply);
}

#[test]
fn events_are_the_same_however_they_are_cut() {
    holds("sse", super::sse);
}

#[test]
fn a_header_stands_for_one_name() {
    holds("sentinel", super::sentinel);
}
