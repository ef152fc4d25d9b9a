use super::*;

const ALICE: Caller<'_> = Caller {
    tenant: "t",
    issuer: "i",
    subject: "alice",
    client: "c",
};
const RATE: Rate = Rate {
    per_second: 10,
    burst: 3,
};

fn at_ms(millis: u64) -> UnixTime {
    UnixTime::from_nanos(1_795_399_848_000_000_000 + millis * 1_000_000)
}

#[test]
fn a_burst_passes_and_refills_at_the_rate() {
    let limiter = Limiter::new(10);
    for _ in 0..3 {
        assert_eq!(limiter.take(ALICE, RATE, at_ms(0)), Ok(()));
    }
    assert_eq!(limiter.take(ALICE, RATE, at_ms(0)), Err(Duration::from_millis(100)));
    assert_eq!(limiter.take(ALICE, RATE, at_ms(99)), Err(Duration::from_millis(1)));
    assert_eq!(limiter.take(ALICE, RATE, at_ms(100)), Ok(()));
    assert!(limiter.take(ALICE, RATE, at_ms(100)).is_err());
    for _ in 0..3 {
        assert_eq!(limiter.take(ALICE, RATE, at_ms(60_000)), Ok(()));
    }
    assert!(limiter.take(ALICE, RATE, at_ms(60_000)).is_err());
}

#[test]
fn callers_do_not_share() {
    let limiter = Limiter::new(10);
    let one = Rate {
        per_second: 1,
        burst: 1,
    };
    for caller in [
        ALICE,
        Caller { tenant: "u", ..ALICE },
        Caller { issuer: "j", ..ALICE },
        Caller { client: "d", ..ALICE },
        Caller {
            subject: "bob",
            ..ALICE
        },
        Caller {
            tenant: "ti",
            issuer: "",
            ..ALICE
        },
    ] {
        assert_eq!(limiter.take(caller, one, at_ms(0)), Ok(()), "{caller:?}");
        assert!(limiter.take(caller, one, at_ms(0)).is_err(), "{caller:?}");
    }
}

#[test]
fn a_clock_that_steps_back_gives_and_takes_nothing() {
    let limiter = Limiter::new(10);
    let one = Rate {
        per_second: 1,
        burst: 1,
    };
    assert_eq!(limiter.take(ALICE, one, at_ms(10_000)), Ok(()));
    assert!(limiter.take(ALICE, one, at_ms(0)).is_err());
    assert!(limiter.take(ALICE, one, at_ms(10_999)).is_err());
    assert_eq!(limiter.take(ALICE, one, at_ms(11_000)), Ok(()));
}

#[test]
fn the_map_is_bounded_by_forgetting_those_who_owe_nothing() {
    let limiter = Limiter::new(100);
    for number in 0..1_000_u32 {
        let subject = number.to_string();
        let caller = Caller {
            subject: &subject,
            ..ALICE
        };
        assert_eq!(limiter.take(caller, RATE, at_ms(u64::from(number) * 1_000)), Ok(()));
    }
    assert!(limiter.buckets.len() <= 101, "{}", limiter.buckets.len());
}

#[test]
fn a_look_takes_nothing_and_says_what_a_take_would() {
    let limiter = Limiter::new(10);
    let source = Source::new("i", "192.0.2.1".parse().unwrap());
    for _ in 0..10 {
        assert_eq!(limiter.look(source, RATE, at_ms(0)), Ok(()));
    }
    for _ in 0..3 {
        assert_eq!(limiter.look(source, RATE, at_ms(0)), Ok(()));
        assert_eq!(limiter.take(source, RATE, at_ms(0)), Ok(()));
    }
    assert_eq!(limiter.look(source, RATE, at_ms(0)), Err(Duration::from_millis(100)));
    assert_eq!(limiter.look(source, RATE, at_ms(99)), Err(Duration::from_millis(1)));
    assert_eq!(limiter.look(source, RATE, at_ms(100)), Ok(()));
}

#[test]
fn a_source_is_an_address_or_a_network_of_version_6() {
    let source = |ip: &str| Source::new("i", ip.parse().unwrap());
    assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
    assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
    assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
    assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    assert_ne!(source("192.0.2.1"), Source::new("j", "192.0.2.1".parse().unwrap()));
}
