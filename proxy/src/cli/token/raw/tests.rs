use std::io::{BufReader, Cursor};

use super::*;

#[test]
fn lines_are_bounded_and_counted() {
    // Buffers of all small sizes, so that every break falls everywhere.
    let read = |text: &str, bytes_max: usize| -> Vec<Option<String>> {
        let mut all: Vec<Vec<Option<String>>> = (1..12)
            .map(|size| {
                let mut lines = BufReader::with_capacity(size, Cursor::new(text.as_bytes()));
                let (mut line, mut found) = (Vec::new(), Vec::new());
                while let Some(whole) = next_line(&mut lines, &mut line, bytes_max).unwrap() {
                    found.push(whole.then(|| String::from_utf8(line.clone()).unwrap()));
                }
                found
            })
            .collect();
        all.dedup();
        assert_eq!(all.len(), 1, "{text:?}");
        all.remove(0)
    };
    let some = |lines: &[&str]| -> Vec<Option<String>> { lines.iter().map(|line| Some((*line).to_owned())).collect() };
    assert_eq!(read("", 4), some(&[]));
    assert_eq!(read("\n", 4), some(&[""]));
    assert_eq!(read("a", 4), some(&["a"]));
    assert_eq!(read("a\nb", 4), some(&["a", "b"]));
    assert_eq!(read("a\r\n\r\n\nb\r\n", 4), some(&["a", "", "", "b"]));
    assert_eq!(read("abcd\r\nefgh\n", 4), some(&["abcd", "efgh"]));
    assert_eq!(read("a\rb\n", 4), some(&["a\rb"]));
    let mixed = [Some("abcd".to_owned()), None, Some("x".to_owned()), None, None];
    assert_eq!(read("abcd\nabcde\nx\nabcdefghijklmnop\r\nabcde", 4), mixed);
}
