//! The fold check against a plain one, over the names, their near-misses and random keys.

use super::{META_NAMES, META_TABLE, NAME_BYTES_MAX, NAME_TABLE, NAMES, folded};

/// What the check means, name by name.
fn plainly(key: &str, names: &[&str]) -> bool {
    names.iter().any(|name| *name != key && folded(name).eq(folded(key)))
}

#[track_caller]
fn check(key: &str) -> bool {
    assert_eq!(NAME_TABLE.nearly(key), plainly(key, &NAMES), "{key:?}");
    assert_eq!(META_TABLE.nearly(key), plainly(key, &META_NAMES), "{key:?} in `_meta`");
    NAME_TABLE.nearly(key) || META_TABLE.nearly(key)
}

/// SplitMix64, below a bound.
fn next(state: &mut u64, below: usize) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((mixed ^ (mixed >> 31)) % (below as u64)).unwrap()
}

fn pick<T: Copy>(state: &mut u64, from: &[T]) -> T {
    from[next(state, from.len())]
}

#[test]
fn the_names_are_sorted_by_what_they_fold_to() {
    for names in [&NAMES[..], &META_NAMES] {
        assert!(
            names.is_sorted_by(|left, right| folded(left).lt(folded(right))),
            "{names:?}"
        );
    }
}

#[test]
fn a_name_is_no_near_miss_of_itself_and_every_other_spelling_is_one() {
    for name in NAMES.iter().chain(&META_NAMES) {
        assert!(!check(name), "{name}");
        assert!(check(&name.to_ascii_uppercase()), "{name}");
        for (place, letter) in name.char_indices().filter(|(_, letter)| letter.is_ascii_alphabetic()) {
            let (before, rest) = name.split_at(place);
            let (_, after) = rest.split_at(1);
            let other = if letter.is_ascii_lowercase() {
                letter.to_ascii_uppercase()
            } else {
                letter.to_ascii_lowercase()
            };
            assert!(check(&format!("{before}{other}{after}")), "{name} at {place}");
            let mut others = "\u{130}\u{131}\u{17f}\u{212a}".chars();
            let folds = others.any(|other| check(&format!("{before}{other}{after}")));
            assert!(
                folds || !"isk".contains(letter.to_ascii_lowercase()),
                "{name} at {place}"
            );
            check(&format!("{before}{after}"));
            check(&format!("{before}{letter}{letter}{after}"));
        }
    }
}

#[test]
fn what_resembles_no_name_is_none() {
    let long = "i".repeat(NAME_BYTES_MAX + 1);
    let dotless = "\u{131}".repeat(NAME_BYTES_MAX + 1);
    for key in [
        "",
        "@",
        "?meta",
        "\u{7f}meta",
        "{ame",
        "\u{131}",
        "m\u{e9}thod",
        "\u{ff4e}ame",
        &long,
        &dotless,
    ] {
        assert!(!check(key), "{key:?}");
    }
}

#[test]
fn the_table_and_the_plain_check_agree_on_random_keys() {
    let letters: Vec<char> = ('\0'..='\u{7f}')
        .chain("\u{130}\u{131}\u{17f}\u{212a}\u{e9}".chars())
        .collect();
    let mut state = 7;
    let mut near = 0;
    for _ in 0..20_000 {
        let name = match next(&mut state, 8) {
            0 => pick(&mut state, &META_NAMES),
            _ => pick(&mut state, &NAMES),
        };
        let mut key: Vec<char> = name.chars().collect();
        for _ in 0..next(&mut state, 3) {
            let place = next(&mut state, key.len());
            match next(&mut state, 4) {
                0 => key[place] = pick(&mut state, &letters),
                1 => key.insert(place, pick(&mut state, &letters)),
                2 if 1 < key.len() => drop(key.remove(place)),
                _ => {
                    key[place] = if key[place].is_ascii_lowercase() {
                        key[place].to_ascii_uppercase()
                    } else {
                        key[place]
                    }
                }
            }
        }
        near += u32::from(check(&String::from_iter(key)));
    }
    assert!(
        (2_000..18_000).contains(&near),
        "{near} of 20,000 keys were near-misses"
    );
}
