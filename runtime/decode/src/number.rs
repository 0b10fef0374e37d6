//! JSON numbers: their exact value as an `i64` or a double.

/// A number token whose grammar was checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number<'a> {
    /// The token.
    pub(crate) text: &'a str,
    /// It begins with a minus.
    pub(crate) negative: bool,
    /// All digits before the exponent read as one number; wrapped where there are more than 19.
    pub(crate) mantissa: u64,
    /// How many digits `mantissa` was made of, leading zeros included.
    pub(crate) digits: usize,
    /// How many of them follow the point.
    pub(crate) fraction_digits: usize,
    /// The exponent, held within what no event's length can make up for.
    pub(crate) exponent: i64,
}

/// Why a number is no `i64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotWhole {
    /// It has a fraction.
    Fraction,
    /// It is beyond 64 bits.
    OutOfRange,
}

/// Digits that always fit a `u64`.
const EXACT_DIGITS: usize = 19;

impl Number<'_> {
    /// The value as an `i64`, exactly: `1.0` and `1e3` are whole, `1.5` is not.
    pub(crate) fn whole(&self) -> Result<i64, NotWhole> {
        if self.digits <= EXACT_DIGITS && self.fraction_digits == 0 && self.exponent == 0 {
            return self.signed(self.mantissa);
        }
        self.whole_of_digits()
    }

    /// Any length and any exponent: the digits without zeros at either end decide.
    #[cold]
    fn whole_of_digits(&self) -> Result<i64, NotWhole> {
        let mantissa = self.text.split(['e', 'E']).next().unwrap_or_default();
        let mut digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
        let mut exponent = self.exponent - self.fraction_digits as i64;
        while digits.last() == Some(&b'0') {
            digits.pop();
            exponent += 1;
        }
        let leading = digits.iter().take_while(|digit| **digit == b'0').count();
        let significant = digits.get(leading..).unwrap_or_default();
        if significant.is_empty() {
            return Ok(0);
        }
        if exponent < 0 {
            return Err(NotWhole::Fraction);
        }
        if significant.len() as i64 + exponent > EXACT_DIGITS as i64 {
            return Err(NotWhole::OutOfRange);
        }
        let value = significant
            .iter()
            .fold(0u64, |value, digit| value * 10 + u64::from(digit - b'0'));
        let power = u32::try_from(exponent).map_err(|_| NotWhole::OutOfRange)?;
        self.signed(value * 10u64.pow(power))
    }

    fn signed(&self, magnitude: u64) -> Result<i64, NotWhole> {
        let value = if self.negative {
            0i64.checked_sub_unsigned(magnitude)
        } else {
            0i64.checked_add_unsigned(magnitude)
        };
        value.ok_or(NotWhole::OutOfRange)
    }

    /// The nearest double; none where that is infinite.
    pub(crate) fn double(&self) -> Option<f64> {
        let exponent = self.exponent - self.fraction_digits as i64;
        if self.digits <= EXACT_DIGITS
            && self.mantissa <= 1 << f64::MANTISSA_DIGITS
            && let Some(power) = POWERS_OF_TEN.get(exponent.unsigned_abs() as usize)
        {
            // Both operands are exact, so the one rounding of the operation is the right one (Clinger's fast path).
            let magnitude = if exponent < 0 {
                self.mantissa as f64 / power
            } else {
                self.mantissa as f64 * power
            };
            return Some(if self.negative { -magnitude } else { magnitude });
        }
        self.text
            .parse()
            .ok()
            .filter(|value: &f64| value.is_finite())
    }
}

/// The powers of ten that a double holds exactly.
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];
