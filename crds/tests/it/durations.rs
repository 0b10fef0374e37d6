use tidewheel_crds::{Duration, duration::DurationError};

fn millis(text: &str) -> Result<u64, DurationError> {
    text.parse::<Duration>().map(Duration::as_millis)
}

#[test]
fn each_unit_counts_for_what_it_says() {
    for (text, expected) in [
        ("0s", 0),
        ("250ms", 250),
        ("10s", 10_000),
        ("5m", 300_000),
        ("2h", 7_200_000),
        ("7d", 604_800_000),
        ("1h30m", 5_400_000),
        ("1d2h3m4s5ms", 93_784_005),
        ("007s", 7_000),
        ("999999999999ms", 999_999_999_999),
    ] {
        assert_eq!(millis(text), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_no_duration_is_refused_with_an_example() {
    for text in [
        "", "5", "s", "5 s", "-5s", "+5s", "1.5h", "1m1h", "1s1s", "5S", "5us", "1w", "5s ", "٥s",
        "1h30", "ms5",
    ] {
        let error = millis(text).expect_err(text);
        assert!(
            error
                .to_string()
                .contains("such as `250ms`, `10s`, `1h30m` or `7d`"),
            "{error}"
        );
    }
}

#[test]
fn more_than_a_lifetime_is_refused() {
    for text in [
        "10000d",
        "1000000h",
        "10000000m",
        "1000000000s",
        "1000000000000ms",
        "99999999999999999999d",
    ] {
        assert_eq!(
            millis(text),
            Err(DurationError::TooLong(text.to_owned())),
            "{text}"
        );
    }
}

#[test]
fn the_most_that_can_be_written_fits_in_the_nanoseconds_of_go() {
    let most = millis("9999d999999h9999999m999999999s999999999999ms").unwrap();
    assert!(most < u64::try_from(i64::MAX).unwrap() / 1_000_000);
}

#[test]
fn what_is_printed_can_be_read_again() {
    let exponents = (0..43).map(|exponent| 1_u64 << exponent);
    for millis in exponents
        .flat_map(|millis| [millis - 1, millis, millis + 1])
        .chain([863_913_600_000, 6_999_998_399_990])
    {
        let duration = Duration::from_millis(millis);
        assert_eq!(duration.to_string().parse(), Ok(duration), "{duration}");
    }
    assert_eq!(Duration::ZERO.to_string(), "0s");
    assert_eq!(Duration::from_millis(5_400_250).to_string(), "1h30m250ms");
}

#[test]
fn our_parser_and_the_pattern_of_the_api_agree() {
    let pattern = regex::Regex::new(tidewheel_crds::duration::PATTERN).unwrap();
    for text in [
        "5s",
        "1d12h",
        "12h1d",
        "5",
        "9999d",
        "10000d",
        "1h30m",
        "1.5h",
        "0ms",
        "1m1m",
        "999999999999ms",
    ] {
        assert_eq!(
            pattern.is_match(text),
            text.parse::<Duration>().is_ok(),
            "{text}"
        );
    }
}
