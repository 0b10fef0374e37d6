//! Decimals as PostgreSQL's binary format has them.
//!
//! | bytes | |
//! |---|---|
//! | 2 | how many digits follow; a digit counts to 10,000 |
//! | 2 | weight of the first digit, as a power of 10,000 |
//! | 2 | sign: `0x0000` or, where negative, `0x4000` |
//! | 2 | decimal digits after the point, for display |
//! | 2 each | the digits, without zeros at either end |

const NEGATIVE: u16 = 0x4000;
const BASE: u128 = 10_000;
/// Decimal digits in a digit.
const WIDTH: u32 = 4;

/// Appends `unscaled` / 10^`scale`. `scale` is at most 38 in either direction, as in Arrow.
pub(super) fn encode(unscaled: i128, scale: i8, to: &mut Vec<u8>) {
    let scale = i32::from(scale);
    let (digits, weight) = digits(unscaled.unsigned_abs(), scale);
    let sign = if unscaled < 0 { NEGATIVE } else { 0 };
    let shown = u16::try_from(scale).unwrap_or(0);
    to.extend((digits.len() as u16).to_be_bytes());
    to.extend(weight.to_be_bytes());
    to.extend(sign.to_be_bytes());
    to.extend(shown.to_be_bytes());
    for digit in digits {
        to.extend(digit.to_be_bytes());
    }
}

/// The digits of a decimal, the most significant first, and the weight of that one.
fn digits(mut magnitude: u128, scale: i32) -> (Vec<u16>, i16) {
    if magnitude == 0 {
        return (Vec::new(), 0);
    }
    // The last digit has to end at the point or a whole number of digits away from it.
    let odd = scale.rem_euclid(WIDTH as i32) as u32;
    let mut weight = -((scale.div_euclid(WIDTH as i32)) as i16);
    let mut digits = Vec::with_capacity(11);
    if odd > 0 {
        let unit = 10_u128.pow(odd);
        let last = (magnitude % unit) * 10_u128.pow(WIDTH - odd);
        digits.push(last as u16);
        magnitude /= unit;
        weight -= 1;
    }
    while magnitude > 0 {
        digits.push((magnitude % BASE) as u16);
        magnitude /= BASE;
    }
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    digits.drain(..zeros);
    weight += (zeros + digits.len() - 1) as i16;
    digits.reverse();
    (digits, weight)
}

#[cfg(test)]
mod tests {
    use super::encode;

    fn encoded(unscaled: i128, scale: i8) -> Vec<u16> {
        let mut bytes = Vec::new();
        encode(unscaled, scale, &mut bytes);
        let words = bytes
            .chunks(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        words.collect()
    }

    /// As `numeric_send` gives them.
    #[test]
    fn decimals_have_the_words_that_postgresql_gives_them() {
        assert_eq!(encoded(0, 0), [0, 0, 0, 0]);
        assert_eq!(encoded(0, 3), [0, 0, 0, 3]);
        assert_eq!(encoded(1, 0), [1, 0, 0, 0, 1]);
        assert_eq!(encoded(-12_345, 0), [2, 1, 0x4000, 0, 1, 2345]);
        assert_eq!(
            encoded(120_000, 0),
            [1, 1, 0, 0, 12][..4]
                .iter()
                .copied()
                .chain([12])
                .collect::<Vec<_>>()
        );
        assert_eq!(encoded(15, 1), [2, 0, 0, 1, 1, 5000]);
        assert_eq!(encoded(1, 10), [1, (-3_i16) as u16, 0, 10, 100]);
        assert_eq!(encoded(-1_000_000, 3), [1, 0, 0x4000, 3, 1000]);
        assert_eq!(encoded(12, -3), [2, 1, 0, 0, 1, 2000]);
        assert_eq!(encoded(123_456_789, 5), [3, 0, 0, 5, 1234, 5678, 9000]);
    }
}
