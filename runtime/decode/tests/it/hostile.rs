//! Events made to break things: each has a verdict, the same whatever becomes of unknown members, and none spoils its neighbours.
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tidewheel_decode::{FieldType, UnknownFields};

use crate::fixture::{clicks, decode_one, decoder, field};

const GOOD: &str = r#"{"event_id":"6f1c2f5e-0b5a-4c39-9d55-2f7f4f3a1b10","source":"web \u00e9","timestamp":"2015-05-17T10:05:03Z","attributes":{"user_id":"u","metric":1.5e0,"code":200,"cached":false,"geo":{"a":[1,null]}},"page":"/\n","n":[-0.5E+3,{"":[]}]}"#;

#[test]
fn every_truncation_is_refused() {
    for unknown in [
        UnknownFields::Keep,
        UnknownFields::Drop,
        UnknownFields::Reject,
    ] {
        let mut decoder = decoder(clicks(), unknown);
        for length in 0..GOOD.len() {
            let event = &GOOD.as_bytes()[..length];
            assert!(decode_one(&mut decoder, event).is_err(), "{length}");
        }
    }
}

#[test]
fn damage_has_the_same_verdict_whether_members_are_kept_or_dropped_or_declared() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut keep = decoder(clicks(), UnknownFields::Keep);
    let mut drop = decoder(clicks(), UnknownFields::Drop);
    // The same members, but nothing looks into them.
    let opaque = ["event_id", "source", "timestamp", "attributes", "page", "n"];
    let opaque = opaque.map(|name| field(name, name, FieldType::Json));
    let mut opaque = decoder(opaque.to_vec(), UnknownFields::Reject);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..50_000 {
        let mut event = GOOD.as_bytes().to_vec();
        let at = rng.random_range(0..event.len());
        match rng.random_range(0..3) {
            0 => event[at] = rng.random(),
            1 => event.insert(at, rng.random_range(0x20..0x7f)),
            _ => drop_byte(&mut event, at),
        }
        let kept = decode_one(&mut keep, &event);
        let dropped = decode_one(&mut drop, &event);
        assert_eq!(kept.as_ref().err(), dropped.as_ref().err());
        if kept.is_ok() {
            accepted += 1;
        } else {
            refused += 1;
        }
        // What is broken as JSON is broken for all; what is only wrong for a type is not.
        let syntax = ["Malformed", "InvalidUtf8", "BadText", "TooDeep"];
        let is_broken = kept.err().is_some_and(|error| syntax.contains(&error.code));
        if is_broken {
            assert!(decode_one(&mut opaque, &event).is_err());
        }
    }
    assert!(accepted > 1000 && refused > 1000);
}

fn drop_byte(event: &mut Vec<u8>, at: usize) {
    event.remove(at);
}

#[test]
fn bad_neighbours_leave_good_events_whole() {
    let huge = format!(r#"{{"source":"{}"}}"#, "x".repeat(20 << 20));
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let bad: Vec<&[u8]> = vec![
        b"",
        b"{",
        b"\0\0\0\0",
        b"\xff\xfe{}",
        "\u{feff}{}".as_bytes(),
        huge.as_bytes(),
        deep.as_bytes(),
        br#"{"source":"late","event_id":"nope"}"#,
        br#"{"source":"\ud800"}"#,
        br#"{"attributes":{"metric":1e400}}"#,
        br#"{"source":"a","source":"b"}"#,
    ];
    let mut decoder = decoder(clicks(), UnknownFields::Keep);
    let events: Vec<&[u8]> = bad.iter().flat_map(|bad| [*bad, GOOD.as_bytes()]).collect();
    let decoded = decoder.decode(events.iter().copied());
    let odd: Vec<u32> = (0..bad.len() as u32).map(|index| index * 2 + 1).collect();
    let even: Vec<u32> = (0..bad.len() as u32).map(|index| index * 2).collect();
    assert_eq!(decoded.rows, odd);
    assert_eq!(
        decoded
            .refused
            .iter()
            .map(|(index, _)| *index)
            .collect::<Vec<_>>(),
        even
    );
    for row in 1..decoded.batch.num_rows() {
        assert_eq!(decoded.batch.slice(row, 1), decoded.batch.slice(0, 1));
    }
}

#[test]
fn sixty_four_levels_are_accepted_wherever_they_stand() {
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let event = |levels| format!(r#"{{"x":{}}}"#, nested(levels)).into_bytes();
    for data_type in [None, Some(FieldType::Json)] {
        let fields = data_type.map(|data_type| field("x", "x", data_type));
        let mut decoder = decoder(fields.into_iter().collect(), UnknownFields::Keep);
        decode_one(&mut decoder, &event(63)).unwrap();
        assert_eq!(
            decode_one(&mut decoder, &event(64)).unwrap_err().code,
            "TooDeep"
        );
    }
    // Levels that columns' paths pass through count like the others.
    let path = vec!["o"; 64].join(".");
    let mut decoder = decoder(
        vec![field("x", &path, FieldType::Json)],
        UnknownFields::Keep,
    );
    let wrapped = |value: &str| format!("{}{value}{}", r#"{"o":"#.repeat(64), "}".repeat(64));
    assert_eq!(
        decode_one(&mut decoder, wrapped("1").as_bytes()).unwrap(),
        ["1", "NULL"]
    );
    let error = decode_one(&mut decoder, wrapped("[]").as_bytes()).unwrap_err();
    assert_eq!(error.code, "TooDeep");
}

#[test]
fn noise_never_panics() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let alphabet: Vec<u8> = br#"{}[]:,"\ue0123456789.-+tfn "#
        .iter()
        .copied()
        .chain([0, 10, 0x80, 0xc3, 0xed, 0xff])
        .collect();
    let mut decoder = decoder(clicks(), UnknownFields::Keep);
    for _ in 0..100_000 {
        let length = rng.random_range(0..60);
        let mut event = b"{\"source\":".to_vec();
        event.extend((0..length).map(|_| alphabet[rng.random_range(0..alphabet.len())]));
        assert!(decode_one(&mut decoder, &event).is_err());
    }
}
