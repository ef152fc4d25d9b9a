//! Whether the URI of a resource is in the one form in which it is judged (RFC 3986 section 6.2.2).
//!
//! Owns [`is_normal`]. Rows and policies compare texts: a URI that a server would read as another one's spelling is
//! refused, never rewritten. Knows the schemes of which the WHATWG URL standard reads several spellings alike.

use crate::head::{is_target_byte, is_unreserved};

/// Schemes whose hosts have no case, and whose slashes and default ports readers add and take away.
const SPECIAL: [(&str, &str); 6] = [
    ("file", ""),
    ("ftp", "21"),
    ("http", "80"),
    ("https", "443"),
    ("ws", "80"),
    ("wss", "443"),
];

/// Whether `uri` is an absolute URI in normal form: ASCII, a lower-case scheme, no dot segment, no escape of what needs
/// none, of a slash, a backslash or a control character, or that decodes to an escape; escapes in upper case and of
/// UTF-8; for the web's schemes and `file` a lower-case host without its default port.
pub(crate) fn is_normal(uri: &str) -> bool {
    is_in_form(uri, false)
}

/// The same for a URI template (RFC 6570), whose expressions stand in braces.
pub(crate) fn is_normal_template(uri: &str) -> bool {
    is_in_form(uri, true)
}

fn is_in_form(uri: &str, template: bool) -> bool {
    let Some((scheme, rest)) = uri.split_once(':') else {
        return false;
    };
    let mut letters = scheme.bytes();
    let named = letters.next().is_some_and(|first| first.is_ascii_lowercase())
        && letters.all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.'));
    named
        && !rest.is_empty()
        && rest
            .bytes()
            .all(|byte| is_allowed(byte) || template && matches!(byte, b'{' | b'}' | b'|'))
        && has_normal_escapes(rest)
        && !has_dot_segment(rest)
        // A fragment names a part of the resource, never another one (RFC 3986 section 3.5).
        && (template || !rest.contains('#'))
        && !has_second_file_name(scheme, rest)
        && has_normal_host(scheme, rest)
}

/// RFC 3986 section 2: unreserved, reserved, and the sign of escapes.
const fn is_allowed(byte: u8) -> bool {
    is_target_byte(byte) || matches!(byte, b'#' | b'[' | b']')
}

/// Whether each escape is whole, in upper case, needed, and all of them together stand for UTF-8.
fn has_normal_escapes(rest: &str) -> bool {
    let Some((literal, escapes)) = rest.split_once('%') else {
        return true;
    };
    let mut decoded = literal.as_bytes().to_vec();
    for part in escapes.split('%') {
        let Some((escape, literal)) = part.split_at_checked(2) else {
            return false;
        };
        let upper = escape.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
        let Some(byte) = u8::from_str_radix(escape, 16).ok().filter(|_| upper) else {
            return false;
        };
        if is_unreserved(byte) || matches!(byte, b'/' | b'\\' | 0x7f) || byte.is_ascii_control() {
            return false;
        }
        // `%252e` is `%2e` to who decodes once, and a dot to who decodes twice.
        if byte == b'%' && literal.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2 {
            return false;
        }
        decoded.push(byte);
        decoded.extend_from_slice(literal.as_bytes());
    }
    std::str::from_utf8(&decoded).is_ok()
}

/// Whether a segment is `.` or `..`, also with parameters behind it. Those of a query count: who takes the URI for a path
/// reads on behind its `?`.
fn has_dot_segment(rest: &str) -> bool {
    rest.split(['/', '?', '#'])
        .any(|segment| matches!(segment.split(';').next(), Some("." | "..")))
}

/// Whether a file would have another name than the whole rest: by a query that readers drop, or by an empty segment that
/// they pass over.
fn has_second_file_name(scheme: &str, rest: &str) -> bool {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    scheme == "file" && (path.contains('?') || path.contains("//"))
}

fn has_normal_host(scheme: &str, rest: &str) -> bool {
    let Some((_, port)) = SPECIAL.iter().find(|(special, _)| *special == scheme) else {
        return true;
    };
    let Some(authority) = rest.strip_prefix("//") else {
        return false;
    };
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    if authority
        .bytes()
        .any(|byte| byte.is_ascii_uppercase() || matches!(byte, b'@' | b'%'))
    {
        return false;
    }
    match (scheme, authority) {
        ("file", "") => true,
        ("file", "localhost") | (_, "") => false,
        (_, authority) => match authority.rsplit_once(':') {
            Some((_, own)) if !own.ends_with(']') => !own.is_empty() && own != *port,
            Some(_) | None => true,
        },
    }
}

#[cfg(test)]
mod tests;
