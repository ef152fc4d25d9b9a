//! What is begun is under way until it is whole, and idle frames are rationed.

use std::time::Duration;

use tokio::time::Instant;

use super::{Flood, Frames, RATION};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags, 0, 0, 0, 1]);
    bytes.extend(payload);
    bytes
}

/// A connection whose client has settled.
fn settled(now: Instant) -> Frames {
    let mut frames = Frames::new(now);
    assert!(frames.under_way().is_some(), "a connection begins with its preface");
    let opening = [PREFACE, &frame(SETTINGS, 0, &[0; 12])].concat();
    for byte in &opening {
        assert!(frames.under_way().is_some());
        frames.feed(&[*byte], now).unwrap();
    }
    assert_eq!(frames.under_way(), None);
    frames
}

#[test]
fn what_is_begun_is_under_way_until_it_is_whole() {
    let now = Instant::now();
    let mut frames = settled(now);
    let block = [frame(1, 0, b"abc"), frame(9, 0, b""), frame(9, 4, b"d")].concat();
    for other in [frame(1, 4, b"abc"), frame(6, 0, &[0; 8]), frame(8, 0, &[0; 4]), block] {
        for (place, byte) in other.iter().enumerate() {
            frames.feed(&[*byte], now).unwrap();
            assert_eq!(
                frames.under_way().is_some(),
                place + 1 < other.len(),
                "{place} of {other:?}"
            );
        }
        // One that ends and one that begins are two, though nothing was whole in between.
        let (first, rest) = other.split_at(other.len() - 1);
        frames.feed(first, now).unwrap();
        let one = frames.under_way();
        frames.feed(&[rest, first].concat(), now).unwrap();
        assert!(frames.under_way().is_some_and(|other| one != Some(other)));
        frames.feed(rest, now).unwrap();
        assert_eq!(frames.under_way(), None);
    }
    // The bytes of a body have another deadline, its frame's head has not.
    let data = frame(0, 1, b"{}");
    let (head, payload) = data.split_at(9);
    frames.feed(&head[..8], now).unwrap();
    assert!(frames.under_way().is_some());
    frames.feed(&head[8..], now).unwrap();
    assert_eq!(frames.under_way(), None);
    frames.feed(payload, now).unwrap();
    assert_eq!(frames.under_way(), None);
}

#[test]
fn idle_frames_are_rationed_and_others_are_not() {
    let now = Instant::now();
    let idle = [
        frame(0, 0, b""),
        frame(2, 0, &[0; 5]),
        frame(3, 0, &[0; 4]),
        frame(SETTINGS, 0, b""),
        frame(6, 0, &[0; 8]),
        frame(7, 0, &[0; 8]),
        frame(0xbe, 0, b""),
    ];
    for one in &idle {
        let mut frames = settled(now);
        for _ in 0..RATION {
            frames.feed(one, now).unwrap();
        }
        assert_eq!(frames.feed(one, now), Err(Flood), "{one:?}");
    }
    for one in [
        frame(0, 1, b""),
        frame(0, 0, b"a"),
        frame(1, 5, b"a"),
        frame(8, 0, &[0; 4]),
    ] {
        let mut frames = settled(now);
        for _ in 0..RATION * 2 {
            frames.feed(&one, now).unwrap();
        }
    }
}

#[test]
fn the_ration_fills_up_with_time_and_not_beyond_itself() {
    let now = Instant::now();
    let later = now + Duration::from_millis(100);
    let much_later = later + Duration::from_secs(3_600);
    let ping = frame(6, 0, &[0; 8]);
    let ration = RATION as usize;
    for steps in [
        &[(now, ration)][..],
        &[(now, ration), (later, 10)],
        &[(now, ration), (later, 10), (much_later, ration)],
    ] {
        let mut frames = settled(now);
        for (until, count) in steps {
            for _ in 0..*count {
                frames.feed(&ping, *until).unwrap();
            }
        }
        let (last, _) = steps[steps.len() - 1];
        assert_eq!(frames.feed(&ping, last), Err(Flood), "{} steps", steps.len());
    }
}
