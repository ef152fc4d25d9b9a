//! The fuzz target `head` without a fuzzer: over its committed corpus, and over mutations of it with a fixed seed.

use std::fs;
use std::path::Path;

// What the fuzz target calls a sibling.
use crate::ingress::framing;

#[path = "../../../../core/fuzz/head.rs"]
mod head;

const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b":",
    b"\0",
    b"0",
    b"f",
    b";",
    b"Host: b\r\n",
    b"Content-Length: 1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"GET / HTTP/1.1\r\n",
    b"\xff",
];

#[test]
fn a_head_has_one_reading_however_it_is_cut() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/fuzz/corpus/head");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "the corpus is empty");
    for path in paths {
        let seed = fs::read(&path).unwrap();
        assert_eq!(head::check(&seed), Ok(()), "{}", path.display());
        for _ in 0..500 {
            let mut bytes = seed.clone();
            for _ in 0..=draw(3) {
                let at = draw(bytes.len() + 1);
                let until = (at + draw(3)).min(bytes.len());
                bytes.splice(at..until, PIECES[draw(PIECES.len())].iter().copied());
            }
            assert_eq!(
                head::check(&bytes),
                Ok(()),
                "{}: {}",
                path.display(),
                bytes.escape_ascii()
            );
        }
    }
}
