//! Inside strings: where they end, and what their escapes stand for.

/// Appends what an escaped string stands for. `raw` was checked by the scanner.
pub(crate) fn unescape(raw: &str, out: &mut String) {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(rest.get(..at).unwrap_or_default());
        let bytes = rest.as_bytes();
        let unit = |from: usize| hex4(bytes.get(from..from + 4)).unwrap_or_default();
        let (character, length) = match bytes.get(at + 1) {
            Some(b'b') => ('\u{8}', 2),
            Some(b'f') => ('\u{c}', 2),
            Some(b'n') => ('\n', 2),
            Some(b'r') => ('\r', 2),
            Some(b't') => ('\t', 2),
            Some(b'u') => match unit(at + 2) {
                high @ 0xd800..0xdc00 => {
                    let low = unit(at + 8) & 0x3ff;
                    let code = 0x10000 + ((high & 0x3ff) << 10 | low);
                    (char::from_u32(code).unwrap_or_default(), 12)
                }
                code => (char::from_u32(code).unwrap_or_default(), 6),
            },
            other => (char::from(other.copied().unwrap_or_default()), 2),
        };
        out.push(character);
        rest = rest.get(at + length..).unwrap_or_default();
    }
    out.push_str(rest);
}

/// The value of four hexadecimal digits.
pub(crate) fn hex4(digits: Option<&[u8]>) -> Option<u32> {
    digits?.iter().try_fold(0, |value, digit| {
        Some(value << 4 | char::from(*digit).to_digit(16)?)
    })
}

const ONES: u64 = u64::MAX / 255;
const HIGH_BITS: u64 = ONES * 0x80;

/// Of each zero byte of `word` the highest bit is set. Bytes above the lowest zero byte may have it set too.
#[inline(always)]
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGH_BITS
}

#[inline(always)]
fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    let chunk = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>)?;
    Some(u64::from_le_bytes(*chunk))
}

/// Where the first quote at or after `from` stands; the length where there is none.
#[inline(always)]
pub(crate) fn find_quote(bytes: &[u8], from: usize) -> usize {
    // Most strings are short, and a call costs as much as two words.
    let mut at = from;
    for _ in 0..2 {
        let Some(word) = word_at(bytes, at) else {
            break;
        };
        let quotes = zero_bytes(word ^ (ONES * b'"' as u64));
        if quotes != 0 {
            return at + (quotes.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    bytes
        .get(at..)
        .and_then(|rest| memchr::memchr(b'"', rest))
        .map_or(bytes.len(), |offset| at + offset)
}

/// Where, at or after `from`, the first quote, backslash or control character stands; the length where there is none.
#[inline(never)]
pub(crate) fn find_special(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(word) = word_at(bytes, at) {
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH_BITS;
        let special = zero_bytes(word ^ (ONES * b'"' as u64))
            | zero_bytes(word ^ (ONES * b'\\' as u64))
            | control;
        if special != 0 {
            return at + (special.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    bytes
        .get(at..)
        .and_then(|rest| {
            rest.iter()
                .position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))
        })
        .map_or(bytes.len(), |offset| at + offset)
}

/// Whether there is neither a backslash nor a control character.
#[inline(never)]
pub(crate) fn is_plain(bytes: &[u8]) -> bool {
    match bytes.last_chunk::<32>() {
        // The last chunk overlaps the one before it.
        Some(last) => bytes.as_chunks::<32>().0.iter().all(is_plain_chunk) && is_plain_chunk(last),
        None => !bytes.iter().any(|byte| *byte < 0x20 || *byte == b'\\'),
    }
}

/// Without an early exit inside, so that the chunk is compared as a whole.
#[inline(always)]
fn is_plain_chunk(chunk: &[u8; 32]) -> bool {
    !chunk.iter().fold(false, |special, byte| {
        special | (*byte < 0x20) | (*byte == b'\\')
    })
}
