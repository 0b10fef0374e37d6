//! Amounts as Kubernetes writes them: `500m`, `1.5Gi`, `1e3`. Pure, and exact: no amount is ever rounded.

/// Whether two texts are one amount; those that are none are compared as they are.
pub(crate) fn is_same_amount(a: &str, b: &str) -> bool {
    a == b || matches!((Amount::read(a), Amount::read(b)), (Some(a), Some(b)) if a == b)
}

/// An amount: `digits * 2^twos * 5^fives`. The digits are divisible by neither, so that each amount is written in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Amount {
    is_negative: bool,
    digits: u128,
    twos: i32,
    fives: i32,
}

impl Amount {
    /// None where it is none, or has more digits than any has that means something.
    fn read(text: &str) -> Option<Self> {
        let (is_negative, text) = match text.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, suffix) = text.split_at_checked(end.unwrap_or(text.len()))?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let mut digits: u128 = format!("{whole}{fraction}").parse().ok()?;
        let (tens, more_twos) = exponents(suffix)?;
        let tens = tens.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        if digits == 0 {
            let (twos, fives, is_negative) = (0, 0, false);
            return Some(Self {
                is_negative,
                digits,
                twos,
                fives,
            });
        }
        let mut take_out = |factor: u128| {
            let mut count = 0;
            while digits.is_multiple_of(factor) {
                digits /= factor;
                count += 1;
            }
            count
        };
        let (twos, fives): (i32, i32) = (take_out(2), take_out(5));
        Some(Self {
            is_negative,
            digits,
            twos: tens.checked_add(more_twos)?.checked_add(twos)?,
            fives: tens.checked_add(fives)?,
        })
    }
}

/// The powers of ten and of two that a suffix stands for.
fn exponents(suffix: &str) -> Option<(i32, i32)> {
    let of_ten = |exponent| Some((exponent, 0));
    let of_two = |exponent| Some((0, exponent));
    match suffix {
        "n" => of_ten(-9),
        "u" => of_ten(-6),
        "m" => of_ten(-3),
        "" => of_ten(0),
        "k" => of_ten(3),
        "M" => of_ten(6),
        "G" => of_ten(9),
        "T" => of_ten(12),
        "P" => of_ten(15),
        "E" => of_ten(18),
        "Ki" => of_two(10),
        "Mi" => of_two(20),
        "Gi" => of_two(30),
        "Ti" => of_two(40),
        "Pi" => of_two(50),
        "Ei" => of_two(60),
        _ => of_ten(suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_the_same_however_it_is_written() {
        for (a, b) in [
            ("0.5", "500m"),
            ("0.7", "700m"),
            ("1.5Ti", "1536Gi"),
            ("1e3", "1k"),
            ("12E-3", "12m"),
            ("1E", "1e18"),
            ("2T", "2000G"),
            ("1Pi", "1024Ti"),
            ("100M", "0.1G"),
            ("+1.50", "1500m"),
            ("0.0", "0"),
            ("-0", "0Gi"),
            ("3.", "3"),
            (".5", "500m"),
            ("128974848", "123Mi"),
            ("1u", "1000n"),
            ("much", "much"),
        ] {
            assert!(is_same_amount(a, b), "{a} {b}");
            assert!(is_same_amount(b, a), "{b} {a}");
        }
    }

    #[test]
    fn other_amounts_are_others_and_what_is_none_is_like_nothing_else() {
        for (a, b) in [
            ("0.7", "701m"),
            ("1G", "1Gi"),
            ("1k", "1Ki"),
            ("1", "-1"),
            ("1", ""),
            ("", "0"),
            (".", "0"),
            ("1.2.3", "1.2"),
            ("1", "one"),
            ("1e", "1"),
            ("1e99999999999", "1"),
            ("1K", "1k"),
            ("9999999999999999999999999999999999999999", "1"),
        ] {
            assert!(!is_same_amount(a, b), "{a} {b}");
        }
    }
}
