//! A cursor over one event's bytes that checks JSON's grammar.
//!
//! Every token is checked in full whether it is stored or skipped, so an event is valid or not regardless of the schema.
use crate::error::{Code, Fault, Parsed, fault};
use crate::limits::{MAX_DEPTH, MAX_MEMBERS};
use crate::number::Number;
use crate::string::{find_quote, find_special, hex4, is_plain};
use crate::token::Token;

/// What [`Scanner::peek`] gives at the end. NUL is no part of any token, so a real one is refused alike.
const END: u8 = 0;

/// Exponents beyond this have the same effect as this: no event has as many digits.
const MAX_EXPONENT: i64 = 1 << 40;

/// A string token: the range between its quotes, with or without escapes in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawString {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) escaped: bool,
}

/// The cursor.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    position: usize,
    members: u32,
    /// No escape and no control character anywhere: the next quote ends a string.
    plain: bool,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            position: 0,
            members: 0,
            plain: is_plain(text.as_bytes()),
        }
    }

    pub(crate) fn position(&self) -> usize {
        self.position
    }

    pub(crate) fn at_end(&self) -> bool {
        self.position >= self.bytes.len()
    }

    /// The text of a range of tokens. Tokens begin and end with ASCII, so the range never cuts a character.
    #[inline]
    pub(crate) fn slice(&self, start: usize, end: usize) -> &'a str {
        self.text.get(start..end).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn peek(&self) -> u8 {
        self.bytes.get(self.position).copied().unwrap_or(END)
    }

    #[inline]
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte;
        self.position += usize::from(found);
        found
    }

    /// Whether `token` comes next; it is consumed if so.
    #[inline(always)]
    pub(crate) fn take_token(&mut self, token: &Token) -> bool {
        let found = self
            .bytes
            .get(self.position..)
            .is_some_and(|rest| token.begins(rest));
        if found {
            self.position += token.length();
        }
        found
    }

    #[inline]
    pub(crate) fn skip_space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.position += 1;
        }
    }

    /// Counts a member against the bound of the event.
    #[inline]
    pub(crate) fn count_member(&mut self) -> Parsed<()> {
        self.members += 1;
        if self.members > MAX_MEMBERS {
            return Err(fault(
                Code::TooManyMembers,
                format!(
                    "the event has more than {MAX_MEMBERS} members; send fewer, or split the event"
                ),
            ));
        }
        Ok(())
    }

    /// Checks that a container may open inside `depth` others.
    #[inline]
    pub(crate) fn check_depth(&self, depth: usize) -> Parsed<()> {
        if depth >= MAX_DEPTH {
            return Err(fault(
                Code::TooDeep,
                format!(
                    "objects and arrays are nested deeper than {MAX_DEPTH} levels at byte {}; send flatter data, or the inner part as a string",
                    self.position
                ),
            ));
        }
        Ok(())
    }

    /// The string whose opening quote is next.
    #[inline(always)]
    pub(crate) fn string(&mut self) -> Parsed<RawString> {
        let start = self.position + 1;
        let end = if self.plain {
            find_quote(self.bytes, start)
        } else {
            find_special(self.bytes, start)
        };
        if self.bytes.get(end) == Some(&b'"') {
            self.position = end + 1;
            return Ok(RawString {
                start,
                end,
                escaped: false,
            });
        }
        self.unusual_string(start, end)
    }

    /// A string with escapes, or one that is wrong.
    #[inline(never)]
    fn unusual_string(&mut self, start: usize, special: usize) -> Parsed<RawString> {
        let mut at = special;
        loop {
            match self.bytes.get(at) {
                Some(b'"') => {
                    self.position = at + 1;
                    return Ok(RawString {
                        start,
                        end: at,
                        escaped: true,
                    });
                }
                Some(b'\\') => at = self.escape(at)?,
                Some(0) => {
                    return Err(malformed(format!(
                        "a NUL byte inside a string at byte {at}; leave it out"
                    )));
                }
                Some(control) => {
                    return Err(malformed(format!(
                        "an unescaped control character (0x{control:02x}) inside a string at byte {at}; write it as \\u{control:04x}"
                    )));
                }
                None => {
                    return Err(malformed(format!(
                        "the event ends inside the string that begins at byte {}; send it whole",
                        start - 1
                    )));
                }
            }
            at = find_special(self.bytes, at);
        }
    }

    /// Checks the escape at `at` and returns where it ends.
    fn escape(&self, at: usize) -> Parsed<usize> {
        match self.bytes.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
            Some(b'u') => match self.code_unit(at)? {
                0 => Err(fault(
                    Code::BadText,
                    format!(
                        "holds NUL (\\u0000) at byte {at}, which text cannot hold; leave it out"
                    ),
                )),
                0xd800..0xdc00 => {
                    let paired = self.bytes.get(at + 6..at + 8) == Some(b"\\u")
                        && (0xdc00..0xe000).contains(&self.code_unit(at + 6)?);
                    if paired {
                        Ok(at + 12)
                    } else {
                        Err(self.lone_surrogate(at))
                    }
                }
                0xdc00..0xe000 => Err(self.lone_surrogate(at)),
                _ => Ok(at + 6),
            },
            Some(_) => Err(malformed(format!(
                "an escape that JSON does not know at byte {at}; write a backslash itself as \\\\"
            ))),
            None => Err(malformed(format!(
                "the event ends inside an escape at byte {at}; send it whole"
            ))),
        }
    }

    /// The four hexadecimal digits of the `\uXXXX` at `at`.
    fn code_unit(&self, at: usize) -> Parsed<u32> {
        hex4(self.bytes.get(at + 2..at + 6)).ok_or_else(|| {
            malformed(format!(
                "\\u without four hexadecimal digits at byte {at}; write it as in \\u00e9"
            ))
        })
    }

    fn lone_surrogate(&self, at: usize) -> Fault {
        fault(
            Code::BadText,
            format!(
                "holds half a surrogate pair ({}) at byte {at}, which is no character; send both halves, or the character itself",
                self.slice(at, at + 6)
            ),
        )
    }

    /// The number that is next.
    #[inline]
    pub(crate) fn number(&mut self) -> Parsed<Number<'a>> {
        let start = self.position;
        let negative = self.take(b'-');
        let mut mantissa = 0;
        let leading_zero = self.peek() == b'0';
        let integer_digits = self.digits(&mut mantissa);
        if integer_digits == 0 || (leading_zero && integer_digits > 1) {
            return Err(self.bad_number(start));
        }
        let mut fraction_digits = 0;
        if self.take(b'.') {
            fraction_digits = self.digits(&mut mantissa);
            if fraction_digits == 0 {
                return Err(self.bad_number(start));
            }
        }
        let exponent = if matches!(self.peek(), b'e' | b'E') {
            self.exponent(start)?
        } else {
            0
        };
        Ok(Number {
            text: self.slice(start, self.position),
            negative,
            mantissa,
            digits: integer_digits + fraction_digits,
            fraction_digits,
            exponent,
        })
    }

    /// Appends the digits that are next to `value` and returns how many there were.
    #[inline]
    fn digits(&mut self, value: &mut u64) -> usize {
        let start = self.position;
        loop {
            let digit = self.peek().wrapping_sub(b'0');
            if digit > 9 {
                return self.position - start;
            }
            *value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
            self.position += 1;
        }
    }

    fn exponent(&mut self, start: usize) -> Parsed<i64> {
        self.position += 1;
        let negative = self.peek() == b'-';
        if matches!(self.peek(), b'-' | b'+') {
            self.position += 1;
        }
        let first = self.position;
        let mut value = 0i64;
        while self.peek().is_ascii_digit() {
            value = (value * 10 + i64::from(self.peek() - b'0')).min(MAX_EXPONENT);
            self.position += 1;
        }
        if self.position == first {
            return Err(self.bad_number(start));
        }
        Ok(if negative { -value } else { value })
    }

    #[cold]
    fn bad_number(&self, start: usize) -> Fault {
        malformed(format!(
            "a number that JSON does not know at byte {start}; write digits as in 12, -0.5 or 1e6"
        ))
    }

    /// `true`, `false` or `null`.
    #[inline]
    pub(crate) fn literal(&mut self, word: &'static str) -> Parsed<()> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        if rest.starts_with(word.as_bytes()) {
            self.position += word.len();
            Ok(())
        } else {
            Err(self.unexpected("a value"))
        }
    }

    /// Checks the value that is next and moves behind it. `depth` containers are open around it.
    pub(crate) fn skip_value(&mut self, depth: usize) -> Parsed<()> {
        match self.peek() {
            b'{' | b'[' => self.skip_container(depth),
            _ => self.skip_scalar(),
        }
    }

    #[inline]
    fn skip_scalar(&mut self) -> Parsed<()> {
        match self.peek() {
            b'"' => self.string().map(|_| ()),
            b'-' | b'0'..=b'9' => self.number().map(|_| ()),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => Err(self.unexpected("a value")),
        }
    }

    /// Without recursion: the kinds of the open containers are bits, innermost last, 1 for an object.
    fn skip_container(&mut self, depth: usize) -> Parsed<()> {
        let mut kinds = 0u64;
        let mut open = 0;
        loop {
            let byte = self.peek();
            if byte == b'{' || byte == b'[' {
                self.check_depth(depth + open)?;
                self.position += 1;
                self.skip_space();
                let is_object = byte == b'{';
                if !self.take(if is_object { b'}' } else { b']' }) {
                    kinds = kinds << 1 | u64::from(is_object);
                    open += 1;
                    if is_object {
                        self.skip_member_name()?;
                    }
                    continue;
                }
            } else {
                self.skip_scalar()?;
            }
            loop {
                if open == 0 {
                    return Ok(());
                }
                self.skip_space();
                let in_object = kinds & 1 == 1;
                if self.take(b',') {
                    self.skip_space();
                    if in_object {
                        self.skip_member_name()?;
                    }
                    break;
                }
                if !self.take(if in_object { b'}' } else { b']' }) {
                    return Err(self.unexpected(if in_object {
                        "',' or '}' after a member"
                    } else {
                        "',' or ']' after an element"
                    }));
                }
                kinds >>= 1;
                open -= 1;
            }
        }
    }

    fn skip_member_name(&mut self) -> Parsed<()> {
        self.member_name()?;
        self.skip_space();
        self.count_member()
    }

    /// A member's name and the colon behind it.
    pub(crate) fn member_name(&mut self) -> Parsed<RawString> {
        if self.peek() != b'"' {
            return Err(self.unexpected("a member name in double quotes"));
        }
        let name = self.string()?;
        self.skip_space();
        if !self.take(b':') {
            return Err(self.unexpected("':' after a member name"));
        }
        Ok(name)
    }

    #[cold]
    pub(crate) fn unexpected(&self, wanted: &str) -> Fault {
        let at = self.position;
        let rest = self.text.get(at..).unwrap_or_default();
        match rest.chars().next() {
            None => malformed(format!(
                "the event ends at byte {at} where {wanted} should stand; send it whole"
            )),
            Some('\0') => malformed(format!(
                "a NUL byte at byte {at} where {wanted} should stand; leave it out"
            )),
            Some(found) if found.is_control() => malformed(format!(
                "a control character (0x{:02x}) at byte {at} where {wanted} should stand",
                u32::from(found)
            )),
            Some(found) => malformed(format!(
                "`{found}` at byte {at} where {wanted} should stand"
            )),
        }
    }
}

#[cold]
pub(crate) fn malformed(what: String) -> Fault {
    fault(Code::Malformed, format!("not JSON: {what}"))
}
