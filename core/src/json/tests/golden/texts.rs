//! The texts of the generated corpus.
//!
//! Vector code reads 16, 32 or 64 bytes at a time and carries state from block to block: whether a string is open,
//! whether a backslash is pending, how many bytes of a character are still to come. So each piece that touches such
//! state is moved over two blocks of 64 and a little more, byte by byte.

/// Moves a piece over every offset in two blocks of 64 bytes.
const OFFSETS: usize = 132;

/// Takes each text of a section.
pub(super) struct Sink<'s>(pub(super) &'s mut dyn FnMut(&[u8]));

impl Sink<'_> {
    fn add(&mut self, text: &[u8]) {
        (self.0)(text);
    }
}

/// One kind of texts.
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) generate: fn(&mut Sink<'_>),
}

pub(super) const SECTIONS: &[Section] = &[
    Section {
        name: "strings",
        generate: strings,
    },
    Section {
        name: "quotes",
        generate: quotes,
    },
    Section {
        name: "utf8",
        generate: utf8,
    },
    Section {
        name: "blanks",
        generate: blanks,
    },
    Section {
        name: "lengths",
        generate: lengths,
    },
    Section {
        name: "numbers",
        generate: numbers,
    },
    Section {
        name: "nesting",
        generate: nesting,
    },
    Section {
        name: "keys",
        generate: keys,
    },
    Section {
        name: "prefixes",
        generate: prefixes,
    },
    Section {
        name: "mutations",
        generate: mutations,
    },
];

/// A fixed sequence of numbers, the same on every machine.
struct Sequence(u64);

impl Sequence {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn pick<'t, T>(&mut self, table: &'t [T]) -> &'t T {
        &table[self.below(table.len())]
    }
}

/// The piece in a string, in a key and between two strings, at each offset.
fn moved(piece: &[u8], sink: &mut Sink<'_>) {
    for offset in 0..OFFSETS {
        let (pad, blank) = ("p".repeat(offset), " ".repeat(offset));
        sink.add(&[b"\"", pad.as_bytes(), piece, b"\""].concat());
        sink.add(&[b"{\"", pad.as_bytes(), piece, b"\":\"", piece, b"tail\"}"].concat());
        sink.add(&[blank.as_bytes(), b"[\"", piece, b"\",\"", piece, pad.as_bytes(), b"\"]"].concat());
    }
}

/// Escapes, good and bad, and bytes that a string may not hold or that mean something outside.
fn strings(sink: &mut Sink<'_>) {
    let pieces: &[&[u8]] = &[
        b"",
        br"\n",
        br"\b\f\n\r\t\/",
        br"\u0041",
        br"\u0000",
        br"\u00e9\u20AC",
        br"\ud83d\ude00",
        br"\uDBFF\uDFFF",
        br"{}[]:,\\",
        b"\x7f",
        br"\x",
        br"\u12g4",
        br"\u123",
        br"\U0041",
        br"\ud800",
        br"\udc00",
        br"\ud800\u0041",
        br"\ud83d\ud83d",
        br"\ude00\ud83d",
        b"\0",
        b"\x01",
        b"\x1f",
        b"\t",
        b"\n",
        b"\r",
    ];
    pieces.iter().for_each(|piece| moved(piece, sink));
}

/// Runs of backslashes before a quote: an odd run keeps the string open, also when a block ends within it.
fn quotes(sink: &mut Sink<'_>) {
    for run in 0..=9 {
        for tail in ["\"", "", "n", "\",\""] {
            moved(&[&b"\\".repeat(run), tail.as_bytes()].concat(), sink);
        }
    }
    for offset in 0..OFFSETS {
        let run = "\\\\".repeat(offset);
        sink.add(format!("\"{run}\"").as_bytes());
        sink.add(format!("\"{run}\\\"").as_bytes());
        sink.add(format!("[\"{run}\\\"\",\"{run}\"]").as_bytes());
        sink.add(format!("[{}\"{run}\"]", "\"\",".repeat(offset)).as_bytes());
    }
}

/// Characters of two to four bytes at the edges of the encoding, and what only resembles them.
fn utf8(sink: &mut Sink<'_>) {
    let pieces: &[&[u8]] = &[
        "\u{80}\u{7ff}".as_bytes(),
        "\u{800}\u{d7ff}\u{e000}\u{ffff}".as_bytes(),
        "\u{10000}\u{10ffff}".as_bytes(),
        "e\u{301}".as_bytes(),
        b"\x80",
        b"\xbf\xbf",
        b"\xc3",
        b"\xc3\xa9\xa9",
        b"\xc0\xaf",
        b"\xc1\xbf",
        b"\xe2\x82",
        b"\xe0\x9f\xbf",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xf0\x9f\x98",
        b"\xf0\x8f\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xfe",
        b"\xff",
    ];
    pieces.iter().for_each(|piece| moved(piece, sink));
    for (offset, piece) in (0..OFFSETS).flat_map(|offset| pieces.iter().map(move |piece| (offset, *piece))) {
        sink.add(&[" ".repeat(offset).as_bytes(), b"{}", piece].concat());
        sink.add(&[" ".repeat(offset).as_bytes(), piece].concat());
    }
}

/// White space, what is not quite white space, and atoms around it.
fn blanks(sink: &mut Sink<'_>) {
    let atoms = [
        "true",
        "false",
        "null",
        "0",
        "-1",
        "1.5e3",
        "\"\"",
        "[]",
        "{}",
        "tru",
        "nulL",
        "truex",
        "falsetrue",
        "-",
        "01",
        "1.",
        "1 2",
        "\"a\" 1",
        ",",
        "]",
        "{",
        "a",
        "\u{b}0",
        "\u{c}0",
        "\u{a0}0",
        "\u{2028}0",
        "\u{feff}0",
        "\0",
        "/**/0",
        "'a'",
    ];
    for offset in 0..OFFSETS {
        let blank: String = " \t\r\n".chars().cycle().take(offset).collect();
        for atom in atoms {
            sink.add(format!("{blank}{atom}{blank}").as_bytes());
            sink.add(format!("[{blank}{atom}{blank},{atom}]").as_bytes());
            sink.add(format!("{{\"k\"{blank}:{atom}{blank}}}").as_bytes());
        }
    }
}

/// Strings of every length up to four blocks of 64 and around some powers of two, whole and broken off.
fn lengths(sink: &mut Sink<'_>) {
    let around = |length: usize| length - 40..=length + 40;
    let lengths = (0..=300)
        .chain(around(1 << 10))
        .chain(around(1 << 12))
        .chain(around(1 << 16));
    for length in lengths {
        let plain = "s".repeat(length);
        sink.add(format!("\"{plain}\"").as_bytes());
        sink.add(format!("\"{plain}").as_bytes());
        if length < 1 << 15 {
            sink.add(format!("\"{plain}\\n\u{e9}{plain}\"").as_bytes());
            sink.add(format!("\"{plain}\\\"").as_bytes());
            sink.add(format!("[\"\\n{plain}\",\"{}\"]", "\u{20ac}".repeat(length / 3)).as_bytes());
        }
    }
}

/// Numbers at the limits of their forms, and many of up to fifteen digits, which every reader must round alike.
fn numbers(sink: &mut Sink<'_>) {
    let forms = [
        "0",
        "-0",
        "0.0",
        "-0.0",
        "1",
        "-1",
        "10",
        "12345678",
        "123456789",
        "1234567890123456",
        "9007199254740991",
        "-9007199254740991",
        "9007199254740992",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "18446744073709551616",
        "1e0",
        "1E+0",
        "1e-0",
        "1e22",
        "1e23",
        "1e15",
        "1e16",
        "1e308",
        "1.7976931348623157e308",
        "1.8e308",
        "-1e309",
        "1e-307",
        "2.2250738585072014e-308",
        "5e-324",
        "2e-324",
        "1e-400",
        "0e400",
        "0.1",
        "0.30000000000000004",
        "123.456e-3",
        "0.000000000000000000001",
        "00",
        "-00",
        "01",
        "-01",
        "+1",
        ".1",
        "1.",
        "1.e1",
        "1e",
        "1e+",
        "1e-",
        "-",
        "--1",
        "1-",
        "1.1.1",
        "1e1e1",
        "1e1.0",
        "0x1",
        "1_000",
        "1,000",
        "Infinity",
        "-Infinity",
        "NaN",
        "1a",
        "1\0",
        "\u{661}",
    ];
    for offset in 0..OFFSETS / 2 {
        for form in forms {
            sink.add(format!("{}{form}", " ".repeat(offset)).as_bytes());
            sink.add(format!("{{\"{}\":{form}}}", "k".repeat(offset)).as_bytes());
        }
    }
    let mut sequence = Sequence(1);
    for _ in 0..6_000 {
        let digits: String = (0..=sequence.below(14))
            .map(|_| *sequence.pick(&['0', '1', '5', '9', '7']))
            .collect();
        let sign = *sequence.pick(&["", "-"]);
        let dot = sequence.below(digits.len() + 1);
        let (whole, fraction) = digits.split_at(dot);
        let exponent = match sequence.below(3) {
            0 => format!("e{}", sequence.below(8)),
            1 => format!("E-{}", sequence.below(8)),
            _ => String::new(),
        };
        sink.add(format!("[{sign}{whole}{exponent}]").as_bytes());
        sink.add(format!("[{sign}{whole}.{fraction}{exponent}]").as_bytes());
    }
}

/// Brackets to the limit of depth and past it, whole, broken off and mismatched.
fn nesting(sink: &mut Sink<'_>) {
    for depth in 1..=70 {
        for (open, close) in [
            ("[", "]"),
            ("{\"a\":", "}"),
            (" [ \n", "\t] "),
            ("[{\"\\u0061\":", "}]"),
            ("[[],", "]"),
        ] {
            let (opened, closed) = (open.repeat(depth), close.repeat(depth));
            sink.add(format!("{opened}0{closed}").as_bytes());
            sink.add(format!("{opened}{closed}").as_bytes());
            sink.add(format!("{opened}0{}", close.repeat(depth - 1)).as_bytes());
            sink.add(format!("{opened}0{closed}{close}").as_bytes());
            sink.add(format!("{opened}0{}", "}".repeat(depth)).as_bytes());
        }
    }
}

/// Objects whose last key is new, or one of the others in the same or another spelling.
fn keys(sink: &mut Sink<'_>) {
    for members in 1..=40 {
        let list: Vec<String> = (0..members)
            .map(|n| format!("\"key {n} \u{e9}\":[{n},{{\"key 0\":{n}}}]"))
            .collect();
        let list = list.join(",");
        for last in [
            "new",
            "key 0 \u{e9}",
            "key 0 \\u00e9",
            "k\\u0065y 0 \u{e9}",
            "key 0 e\u{301}",
            "KEY 0 \u{c9}",
            "\\u0000",
            "",
        ] {
            sink.add(format!("{{{list},\"{last}\":0}}").as_bytes());
            sink.add(format!("{{\"{last}\":0,{list}}}").as_bytes());
        }
    }
}

const DOCUMENTS: [&str; 4] = [
    r#"{"jsonrpc":"2.0","id":"9f2c","method":"tools/call","params":{"name":"crm.search","arguments":{"query":"Zoë \"Z\" O\u2019Neil","limit":25,"ratio":-2.5e-3,"deep":[[],[{}],[null,true,false]]},"_meta":{"a\/b":"\\\\"}}}"#,
    "\r\n{ \"result\" : { \"content\" : [ { \"type\" : \"text\" , \"text\" : \"caf\u{e9} \u{20ac} 5 \u{1f600} \\ud83d\\ude00 end\" } ] ,\t\"isError\" : false } , \"id\" : 1 , \"jsonrpc\" : \"2.0\" }\r\n",
    "[\"0123456789abcdef0123456789abcde\\\\\",\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abc\\\"\",{\"\":\"\"},0.1,1234567890123]",
    r#"{"a":{"b":{"c":{"d":[1,2,3,{"e":"\b\f\n\r\t","f":[[[[]]]],"g":{}}]}}},"h":"","i":[-1,0,1],"j":"{\"k\":[1,2]}","l":"日本語テキスト日本語テキスト"}"#,
];

/// Every prefix of some documents, and every byte of them replaced by one that matters.
fn prefixes(sink: &mut Sink<'_>) {
    for document in DOCUMENTS.map(str::as_bytes) {
        for end in 0..=document.len() {
            sink.add(&document[..end]);
        }
        for at in 0..document.len() {
            for byte in *b"\"\\ {}[],:0\x00\x80\xc3\xff" {
                let mut changed = document.to_vec();
                changed[at] = byte;
                sink.add(&changed);
            }
        }
    }
}

/// The documents joined to longer ones, with a few pieces put in or over at random.
fn mutations(sink: &mut Sink<'_>) {
    let pieces: [&[u8]; 20] = [
        b"\"",
        b"\\",
        b"\\\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b" ",
        b"0",
        b"-",
        b".",
        b"e1",
        b"\xc3",
        b"\xa9",
        b"null",
        b"\"k\":1,",
        b"\\u0061",
        "\u{e9}".as_bytes(),
    ];
    let mut sequence = Sequence(2);
    for _ in 0..8_000 {
        let list: Vec<&str> = (0..=sequence.below(3)).map(|_| *sequence.pick(&DOCUMENTS)).collect();
        let mut text = format!("[{}]", list.join(",")).into_bytes();
        for _ in 0..sequence.below(4) {
            let at = sequence.below(text.len() + 1);
            let until = (at + sequence.below(3)).min(text.len());
            text.splice(at..until, sequence.pick(&pieces).iter().copied());
        }
        sink.add(&text);
    }
}
