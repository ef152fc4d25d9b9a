//! What must hold of every head: the body of the fuzz target `head`, and of a test of the proxy that includes this file.
//!
//! Owns the check of the watch over HTTP/1.1 framing, by its two calls alone.

use portcullis_core::config::Limits;

use super::framing::{Broken, Framing};

/// Feeds `bytes` to the watch as a connection's, whole and byte by byte.
///
/// # Errors
/// What is broken: the cuts make no difference, and what passes has one reading, told by a second, plain one.
pub(crate) fn check(bytes: &[u8]) -> Result<(), &'static str> {
    let limits = Limits {
        header_bytes_max: 1_024,
        headers_max: 16,
        ..Limits::default()
    };
    let whole = Framing::new(&limits).feed(bytes);
    let mut watch = Framing::new(&limits);
    let single: Result<(), Broken> = bytes.iter().try_for_each(|byte| watch.feed(&[*byte]));
    if single != whole {
        return Err("another verdict byte by byte");
    }
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    match (whole, end) {
        (Ok(()), Some(end)) => one_reading(bytes.get(..end).unwrap_or_default(), &limits),
        (Ok(()), None) if limits.header_bytes_max < bytes.len() => Err("a head past its limit"),
        _ => Ok(()),
    }
}

/// Reads a head that passed as plainly as can be.
fn one_reading(head: &[u8], limits: &Limits) -> Result<(), &'static str> {
    if limits.header_bytes_max < head.len() {
        return Err("a head past its limit");
    }
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let request = lines.next().unwrap_or_default();
    if text.split("\r\n").any(|line| line.contains(['\r', '\n', '\0'])) {
        return Err("a bare line end or a NUL in a head");
    }
    if request.split(' ').count() != 3 || !request.contains(" /") || !request.contains(" HTTP/1.") {
        return Err("a request line of another form");
    }
    let (mut hosts, mut framings, mut fields) = (0, 0, 0);
    for line in lines {
        let Some((name, _)) = line.split_once(':') else {
            return Err("a line that is no field");
        };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a field whose name is no token");
        }
        fields += 1;
        hosts += u32::from(name.eq_ignore_ascii_case("host"));
        framings +=
            u32::from(name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding"));
    }
    match hosts <= 1 && framings <= 1 && fields <= limits.headers_max {
        true => Ok(()),
        false => Err("a host or a body's end that is told twice, or too many fields"),
    }
}
