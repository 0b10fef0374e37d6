//! Shortens a story that fails for as long as it still fails in the same way.
use super::story::{Happening, Story};

/// How many stories are played for that at most.
const MOST_PLAYED: usize = 800;

/// The shortest story found that fails as `story` does. `failure`: what a story fails with, if it does.
pub(crate) fn shortest(story: &Story, mut failure: impl FnMut(&Story) -> Option<String>) -> Story {
    let Some(what) = failure(story) else {
        return story.clone();
    };
    let (kind, mut played) = (kind_of(&what).to_owned(), 0);
    let mut fails = |story: &Story| {
        played += 1;
        played <= MOST_PLAYED && failure(story).is_some_and(|what| kind_of(&what) == kind)
    };
    let mut story = story.clone();
    loop {
        let before = story.happenings.len();
        story = simpler(story, &mut fails);
        let happenings = std::mem::take(&mut story.happenings);
        let with = |happenings: &[(usize, Happening)]| Story {
            happenings: happenings.to_vec(),
            ..story.clone()
        };
        let fewer = fewest(happenings, &mut |happenings| fails(&with(happenings)));
        story = with(&fewer);
        if story.happenings.len() == before {
            return story;
        }
    }
}

/// What is wrong, without what it is wrong with.
fn kind_of(what: &str) -> &str {
    what.split(['[', '{', ':', '(']).next().unwrap_or(what)
}

/// A story of a simpler pipeline.
fn simpler(mut story: Story, fails: &mut impl FnMut(&Story) -> bool) -> Story {
    'again: loop {
        for scenario in story.scenario.simpler() {
            let simpler = Story {
                scenario,
                ..story.clone()
            };
            if fails(&simpler) {
                story = simpler;
                continue 'again;
            }
        }
        return story;
    }
}

/// What is left of `items` when nothing can be left out any more without `fails` being false. First many at once, then fewer, then one by one
/// (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002, without its looks at subsets).
pub(crate) fn fewest<T: Clone>(mut items: Vec<T>, fails: &mut impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut size = items.len().div_ceil(2).max(1);
    loop {
        let mut is_shorter = false;
        let mut at = 0;
        while at < items.len() {
            let end = (at + size).min(items.len());
            let fewer = [&items[..at], &items[end..]].concat();
            if fails(&fewer) {
                (items, is_shorter) = (fewer, true);
            } else {
                at = end;
            }
        }
        match (size, is_shorter) {
            (1, false) => return items,
            (1, true) => {}
            _ => size = size.div_ceil(2),
        }
    }
}

#[test]
fn nothing_can_be_left_out_of_what_is_left() {
    let all: Vec<u32> = (0..1_000).collect();
    let mut looks = 0;
    let fewest = fewest(all, &mut |left| {
        looks += 1;
        [17, 18, 700].iter().all(|needed| left.contains(needed))
    });
    assert_eq!(fewest, [17, 18, 700]);
    assert!(looks < 200, "{looks} looks");
}
