//! Which message of a file a value is.

/// How deep a message may lie within others.
const MAX_INDEXES: usize = 32;

/// What stands in front of the encoding: the index of a message of the file, of one in that, and so on. And the encoding.
pub(super) fn split(value: &[u8]) -> Option<(Vec<usize>, &[u8])> {
    let (count, mut rest) = zigzag(value)?;
    if count == 0 {
        return Some((vec![0], rest));
    }
    let count = usize::try_from(count).ok()?;
    if count > MAX_INDEXES {
        return None;
    }
    let mut indexes = Vec::with_capacity(count);
    for _ in 0..count {
        let (index, after) = zigzag(rest)?;
        indexes.push(usize::try_from(index).ok()?);
        rest = after;
    }
    Some((indexes, rest))
}

/// A number, and what follows it.
fn zigzag(bytes: &[u8]) -> Option<(i64, &[u8])> {
    const MAX_BYTES: usize = 10;
    let mut bits = 0u64;
    for (place, &byte) in bytes.iter().take(MAX_BYTES).enumerate() {
        bits |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let number = (bits >> 1).cast_signed() ^ -(bits & 1).cast_signed();
            return Some((number, &bytes[place + 1..]));
        }
    }
    None
}
