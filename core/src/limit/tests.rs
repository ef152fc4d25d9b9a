use super::*;

const ALICE: Caller<'_> = Caller {
    tenant: "t",
    issuer: "i",
    subject: "alice",
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
