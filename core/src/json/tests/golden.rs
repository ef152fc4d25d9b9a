//! One reading on every processor: verdicts and readings of a generated corpus against committed digests.
//!
//! simd-json has an implementation for each instruction set, and what a text means may not depend on which of them
//! read it. Equal digests on two machines show that it does not. The digests change only when the corpus or the rules
//! change, on every processor alike; a failed comparison prints the table as it would have to stand.

use std::env;
use std::fs;

use simd_json::{Buffers, Deserializer, Implementation, Tape};

use crate::crypto::{Sha256, hex};
use crate::json::{Kind, Node, Number, ParseError, Scratch, parse};

use super::LIMITS;
use super::corpus::{corpora, differential, ran, unhex};

mod texts;

/// A line a section: how many of its texts we accept, and the digest over all that was read.
const GENERATED: &[&str] = &[
    "strings: 3828 of 9900 accepted, 499e5d4fdb809faafa838b358b181d3d0294e508b4efbe29049ce6aed9ff2ea6",
    "quotes: 8976 of 16368 accepted, 6e3d3354905785de7b0d80ce15116606d916c364d19da485564179f1589727fc",
    "utf8: 1584 of 13860 accepted, ce657d419fb37bf851e0d09482f3ec953144c7f9359e4aa5bcf15b8a3031c43a",
    "blanks: 3564 of 11880 accepted, 89113e2aaf52589617e5061dc1bcb83500b47f4a412105bb6f6dde6b1875f102",
    "lengths: 1470 of 2477 accepted, a4a5ecf8e013b8286f58adfa269f345cced8f1dd0075cc8545eee72e56c7734f",
    "numbers: 10960 of 20844 accepted, 59dbe44ffd3aaa08de29a85cb5cfc158c8ad87a46479952e4a5e44b21899d77d",
    "nesting: 479 of 1750 accepted, 2320cf48d7a9ddd546bc4076a30786b16f73b759488b4f17f5e0309bc1be7160",
    "keys: 320 of 640 accepted, 4b6467d9ec97f0b71e8d503201811f8d1451c4a022f56f3dceba7b2d48498c39",
    "prefixes: 2607 of 9889 accepted, c4546d4cadc6f0221b8fbc110fba942b5d8962db312f8e33a23ab39df76e4946",
    "mutations: 3091 of 8000 accepted, 6b5554a7e14871b68d274baa42f32f5d3737b050804a1834e14840c4ac1e1c72",
];

const PUBLIC: &[&str] =
    &["public: 106 of 358 accepted, ddac620bb1a668aeef789804fc8bd5e777cfc621d6d7b178380b55e8e140cca0"];

/// The digest of the public texts themselves: of others there is nothing to compare with.
const PUBLIC_TEXTS: &str = "8f780bf7dbd99b7bbeef95a15179c3f42df7a88b36214c8a914262ad238963b4";

/// The digest of a section in the making.
#[derive(Default)]
struct Reading {
    texts: u32,
    accepted: u32,
    /// Over the texts alone.
    corpus: Sha256,
    digest: Sha256,
    line: Vec<u8>,
    scratch: Scratch,
}

impl Reading {
    /// Reads a text in every way and adds what came of it.
    fn add(&mut self, text: &[u8]) {
        self.line.clear();
        bare(text, &mut self.line);
        match differential(text, &mut self.scratch) {
            Ok(()) => {
                let document = parse(text, &mut self.scratch, LIMITS).unwrap();
                write_node(document.root(), &mut self.line);
                self.accepted += 1;
            }
            Err(refused) => {
                self.line.extend(format!("{refused:?}").into_bytes());
                assert!(refused_for_a_reason(text, refused), "{}", String::from_utf8_lossy(text));
            }
        }
        self.texts += 1;
        self.corpus.update_framed(text);
        self.digest.update_framed(text);
        self.digest.update_framed(&self.line);
    }

    /// The section's line.
    fn finish(self, section: &str) -> String {
        let Self { texts, accepted, .. } = self;
        format!(
            "{section}: {accepted} of {texts} accepted, {}",
            hex(&self.digest.finish())
        )
    }
}

/// What simd-json alone makes of the text. Our own parse looks at UTF-8 first; here the vector code does.
fn bare(text: &[u8], line: &mut Vec<u8>) {
    let mut copy = text.to_vec();
    let mut buffers = Buffers::with_max_depth(0, LIMITS.depth as usize);
    let mut tape = Tape(Vec::new());
    if simd_json::fill_tape(&mut copy, &mut buffers, &mut tape).is_err() {
        line.push(b'-');
        return;
    }
    let seen = String::from_utf8_lossy(text);
    assert!(str::from_utf8(text).is_ok(), "not UTF-8 and accepted: {seen}");
    line.push(b'+');
    line.extend(tape.0.len().to_le_bytes());
    for position in buffers.structural_indexes() {
        line.extend(position.to_le_bytes());
    }
}

/// A text that is malformed for us is so for serde_json, which however takes an integer past 64 bits for a double.
fn refused_for_a_reason(text: &[u8], refused: ParseError) -> bool {
    let long = text
        .split(|byte| !byte.is_ascii_digit())
        .any(|digits| digits.len() > 18);
    refused != ParseError::Malformed || long || serde_json::from_slice::<serde_json::Value>(text).is_err()
}

/// A value with the place of each part, in a form that depends on no formatter.
fn write_node(node: Node<'_>, line: &mut Vec<u8>) {
    let span = node.span();
    line.extend(span.start.to_le_bytes());
    line.extend(span.end.to_le_bytes());
    match node.kind() {
        Kind::Array => {
            line.push(b'[');
            node.elements().for_each(|element| write_node(element, line));
            line.push(b']');
        }
        Kind::Bool => line.extend(if node.as_bool().unwrap() { b"t" } else { b"f" }),
        Kind::Null => line.push(b'n'),
        Kind::Number => match node.as_number().unwrap() {
            Number::Integer(value) => {
                line.push(b'i');
                line.extend(value.to_le_bytes());
            }
            Number::Float(value) => {
                line.push(b'd');
                line.extend(value.to_bits().to_le_bytes());
            }
        },
        Kind::Object => {
            line.push(b'{');
            for member in node.members() {
                line.extend(member.key_span.start.to_le_bytes());
                line.extend(member.key_span.end.to_le_bytes());
                write_string(member.key, line);
                write_node(member.value, line);
            }
            line.push(b'}');
        }
        Kind::String => write_string(node.as_str().unwrap(), line),
    }
}

fn write_string(text: &str, line: &mut Vec<u8>) {
    line.push(b'"');
    line.extend(text.len().to_le_bytes());
    line.extend(text.as_bytes());
}

fn check(expected: &[&str], seen: &[String]) {
    assert!(
        seen == expected,
        "read with {}:\n{}",
        Deserializer::algorithm(),
        seen.join("\n")
    );
}

#[test]
fn a_generated_corpus_reads_alike_on_every_processor() {
    let seen: Vec<String> = texts::SECTIONS
        .iter()
        .map(|section| {
            let mut reading = Reading::default();
            (section.generate)(&mut texts::Sink(&mut |text| reading.add(text)));
            reading.finish(section.name)
        })
        .collect();
    check(GENERATED, &seen);
}

#[test]
fn public_corpora_read_alike_on_every_processor() {
    let (Some(folder), Some(file)) = (
        corpora("json/jsontestsuite/test_parsing"),
        corpora("json/differential.jsonl"),
    ) else {
        return;
    };
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let mut reading = Reading::default();
    for path in paths {
        reading.add(&fs::read(path).unwrap());
    }
    for line in fs::read_to_string(file).unwrap().lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        reading.add(&unhex(case["hex"].as_str().unwrap()));
    }
    let seen = hex(&reading.corpus.clone().finish());
    if seen != PUBLIC_TEXTS {
        // Every text was read in every way all the same; there is only no digest to compare with.
        ran(
            "public corpora",
            format_args!("{} texts, other ones than the digest is of: {seen}", reading.texts),
        );
        return;
    }
    check(PUBLIC, &[reading.finish("public")]);
}

/// Which vector code reads, so that equal digests say something: the best that the processor has. CI names the one it
/// means to have tested in `PORTCULLIS_SIMD`.
#[test]
fn the_vector_code_of_this_processor_reads() {
    let used = Deserializer::algorithm();
    #[cfg(target_arch = "aarch64")]
    assert_eq!(used, Implementation::NEON);
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("pclmulqdq");
        let expected = match (avx2, is_x86_feature_detected!("sse4.2")) {
            (true, _) => Implementation::AVX2,
            (false, true) => Implementation::SSE42,
            (false, false) => Implementation::Native,
        };
        assert_eq!(used, expected);
    }
    if let Ok(meant) = env::var("PORTCULLIS_SIMD") {
        assert_eq!(used.to_string(), meant);
    }
}
