//! When events are due, by a clock that the tests move.
use tidewheel_generate::Pacer;

fn due(pacer: &mut Pacer, now_ms: i64) -> Vec<i64> {
    std::iter::from_fn(|| pacer.take(now_ms)).collect()
}

#[test]
fn events_are_evenly_spaced() {
    let mut pacer = Pacer::new(4, 1_000);
    assert_eq!(due(&mut pacer, 1_000), [1_000]);
    assert!(due(&mut pacer, 1_249).is_empty());
    assert_eq!(pacer.next_due_ms(), 1_250);
    assert_eq!(due(&mut pacer, 1_900), [1_250, 1_500, 1_750]);
    assert_eq!(due(&mut pacer, 2_000), [2_000]);
}

#[test]
fn no_rate_drifts_however_often_it_is_looked_at() {
    for (rate, look_every_ms) in [
        (1, 7),
        (3, 13),
        (7, 20),
        (999, 20),
        (1_000, 1),
        (12_345, 50),
    ] {
        let mut pacer = Pacer::new(rate, 0);
        let made: usize = (0..=100_000)
            .step_by(look_every_ms)
            .map(|now_ms| due(&mut pacer, now_ms).len())
            .sum();
        let last_look_ms = 100_000 / look_every_ms * look_every_ms;
        // Those that are due within the millisecond of the last look have come.
        let expected = ((last_look_ms as u64 + 1) * u64::from(rate)).div_ceil(1_000);
        assert_eq!(made as u64, expected, "{rate}/s");
    }
}

#[test]
fn many_events_are_due_in_the_same_millisecond_at_a_high_rate() {
    let mut pacer = Pacer::new(10_000_000, 0);
    assert_eq!(due(&mut pacer, 0).len(), 10_000);
    assert_eq!(due(&mut pacer, 1).len(), 10_000);
}

#[test]
fn a_short_pause_is_made_up_for() {
    let mut pacer = Pacer::new(100, 0);
    due(&mut pacer, 0);
    assert_eq!(due(&mut pacer, 1_000).len(), 100);
}

#[test]
fn a_pause_longer_than_a_second_is_not_made_up_for() {
    let mut pacer = Pacer::new(100, 0);
    due(&mut pacer, 0);
    assert_eq!(due(&mut pacer, 3_600_000), [3_600_000]);
    assert_eq!(due(&mut pacer, 3_600_050).len(), 5);
}

#[test]
fn one_event_a_second_is_not_a_pause() {
    let mut pacer = Pacer::new(1, 0);
    let times: Vec<_> = (0..5_000)
        .flat_map(|now_ms| due(&mut pacer, now_ms))
        .collect();
    assert_eq!(times, [0, 1_000, 2_000, 3_000, 4_000]);
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_the_events() {
    let mut pacer = Pacer::new(10, 10_000_000);
    due(&mut pacer, 10_000_000);
    assert_eq!(due(&mut pacer, 5_000_000), [5_000_000]);
    assert_eq!(due(&mut pacer, 5_000_200).len(), 2);
}
