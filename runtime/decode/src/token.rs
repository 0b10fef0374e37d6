//! A member name as an event spells it, made to be compared quickly.

/// `"name":`, or nothing where the name would be written with escapes.
#[derive(Debug)]
pub(crate) struct Token {
    bytes: Box<[u8]>,
    /// The first and the last eight bytes, where there are as many.
    ends: Option<(u64, u64)>,
}

impl Token {
    pub(crate) fn new(name: &[u8]) -> Self {
        let needs_escapes = name
            .iter()
            .any(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
        let bytes: Box<[u8]> = if needs_escapes {
            Box::default()
        } else {
            [b"\"", name, b"\":"].concat().into()
        };
        // Together the two words cover no more than 16 bytes.
        let ends = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
            (Some(first), Some(last)) if bytes.len() <= 16 => {
                Some((u64::from_le_bytes(*first), u64::from_le_bytes(*last)))
            }
            _ => None,
        };
        Self { bytes, ends }
    }

    pub(crate) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Whether `text` begins with the token. Nothing begins with an empty one.
    #[inline(always)]
    pub(crate) fn begins(&self, text: &[u8]) -> bool {
        let Some((first, last)) = self.ends else {
            return !self.bytes.is_empty() && text.starts_with(&self.bytes);
        };
        let Some(text) = text.get(..self.bytes.len()) else {
            return false;
        };
        let word = |chunk: Option<&[u8; 8]>| chunk.map(|chunk| u64::from_le_bytes(*chunk));
        word(text.first_chunk()) == Some(first) && word(text.last_chunk()) == Some(last)
    }
}
