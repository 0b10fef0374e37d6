//! Finds those of many that a database refuses, with few tries: it says no more than whether it refuses any of what it is given.

/// What of `all` is to be tried next. It is halved while something in it is refused, and doubled while nothing is: one of `n` is found in
/// about `2 log2 n` tries, and where all are refused they are tried one by one.
pub(super) struct Sieve<'a, T> {
    rest: &'a [T],
    size: usize,
    /// How many of the rest hold at least one that is refused, as is known from what was tried before.
    suspects: usize,
}

impl<'a, T> Sieve<'a, T> {
    /// Begins with all at once.
    pub(super) fn new(all: &'a [T]) -> Self {
        Self {
            rest: all,
            size: all.len(),
            suspects: 0,
        }
    }

    /// What is to be tried; none at the end.
    pub(super) fn part(&self) -> Option<&'a [T]> {
        let part = self.rest.get(..self.size.min(self.rest.len()))?;
        (!part.is_empty()).then_some(part)
    }

    /// Nothing of the part was refused.
    pub(super) fn passes(&mut self) {
        let passed = self.take();
        if self.suspects > passed {
            self.suspects -= passed;
            self.size = (self.suspects / 2).max(1);
        } else {
            self.suspects = 0;
            self.size = passed.saturating_mul(2);
        }
    }

    /// Something of the part was refused. What that is, where nothing else was in it.
    pub(super) fn refuses(&mut self) -> Option<&'a T> {
        let refused = self.part()?;
        if let [one] = refused {
            self.take();
            self.suspects = 0;
            return Some(one);
        }
        self.suspects = refused.len();
        self.size = refused.len() / 2;
        None
    }

    /// Goes beyond the part. How much that was.
    fn take(&mut self) -> usize {
        let part = self.size.min(self.rest.len());
        self.rest = self.rest.get(part..).unwrap_or_default();
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of `count` are found where these are refused, and the number of tries.
    fn sift(count: usize, is_refused: impl Fn(usize) -> bool) -> (Vec<usize>, usize) {
        let all: Vec<usize> = (0..count).collect();
        let (mut sieve, mut passed, mut found, mut tries) = (Sieve::new(&all), 0, Vec::new(), 0);
        while let Some(part) = sieve.part() {
            tries += 1;
            if part.iter().any(|&one| is_refused(one)) {
                found.extend(sieve.refuses());
            } else {
                passed += part.len();
                sieve.passes();
            }
        }
        assert_eq!(passed + found.len(), count, "each is tried to the end");
        (found, tries)
    }

    #[test]
    fn what_is_refused_is_found_in_order_wherever_it_stands() {
        for count in 0..40 {
            for first in 0..count {
                for second in first..count {
                    let (found, _) = sift(count, |one| one == first || one == second);
                    let expected: Vec<usize> = if first == second {
                        vec![first]
                    } else {
                        vec![first, second]
                    };
                    assert_eq!(found, expected);
                }
            }
        }
    }

    #[test]
    fn few_tries_are_enough() {
        const COUNT: usize = 16_384;
        assert_eq!(sift(COUNT, |_| false).1, 1);
        for one in [0, 1, 7_777, 12_288, COUNT - 1] {
            let (found, tries) = sift(COUNT, |at| at == one);
            assert_eq!(found, [one]);
            assert!(tries <= 30, "{tries} for {one}");
        }
        let (found, tries) = sift(COUNT, |_| true);
        assert_eq!(found.len(), COUNT);
        assert!(tries <= COUNT + 14, "{tries} where all are refused");
        let (found, tries) = sift(COUNT, |at| at >= COUNT / 2);
        assert_eq!(found.len(), COUNT / 2);
        assert!(tries <= COUNT / 2 + 30, "{tries} where half of them is");
        let (_, tries) = sift(COUNT, |at| at % 2 == 0);
        assert!(tries <= 2 * COUNT, "{tries} where every second is");
    }
}
