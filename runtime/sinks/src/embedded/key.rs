//! The `_key` of a window row: its key columns as bytes.
//!
//! SQLite's unique indexes treat NULLs as distinct, whereas NULL groups are equal. So rows are identified by one BLOB, which is never
//! NULL, tells every two keys apart, and sorts as the keys do (NULL first). The format is durable; version 1:
//!
//! | part | bytes |
//! |---|---|
//! | NULL | `00` |
//! | any other value | `01`, then the value |
//! | text, uuid, json | UTF-8 with each `00` written as `00 FF`, then `00 00` |
//! | bigint, timestamp (µs), date (days, as 64 bits) | big-endian with the sign bit flipped |
//! | numeric | the unscaled value, 128 bits, big-endian with the sign bit flipped |
//! | double | IEEE 754 bits, big-endian; all bits flipped where negative, else the sign bit |
//! | boolean | `00` or `01` |

const NULL: u8 = 0;
const VALUE: u8 = 1;

/// Writes a key, column by column.
#[derive(Debug, Default)]
pub(super) struct KeyBytes(Vec<u8>);

impl KeyBytes {
    pub(super) fn push_null(&mut self) {
        self.0.push(NULL);
    }

    pub(super) fn push_text(&mut self, text: &str) {
        self.0.push(VALUE);
        for byte in text.bytes() {
            self.0.push(byte);
            if byte == 0 {
                self.0.push(0xFF);
            }
        }
        self.0.extend([0, 0]);
    }

    pub(super) fn push_integer(&mut self, value: i64) {
        self.0.push(VALUE);
        self.0.extend((value ^ i64::MIN).to_be_bytes());
    }

    pub(super) fn push_decimal(&mut self, unscaled: i128) {
        self.0.push(VALUE);
        self.0.extend((unscaled ^ i128::MIN).to_be_bytes());
    }

    pub(super) fn push_double(&mut self, value: f64) {
        self.0.push(VALUE);
        let bits = value.to_bits();
        let negative = bits >> 63 == 1;
        self.0
            .extend(if negative { !bits } else { bits | 1 << 63 }.to_be_bytes());
    }

    pub(super) fn push_boolean(&mut self, value: bool) {
        self.0.extend([VALUE, u8::from(value)]);
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(write: impl FnOnce(&mut KeyBytes)) -> Vec<u8> {
        let mut key = KeyBytes::default();
        write(&mut key);
        key.into_bytes()
    }

    #[test]
    fn the_stored_bytes_never_change() {
        let all = key(|k| {
            k.push_integer(1_431_856_800_000_000);
            k.push_text("a\0é");
            k.push_null();
            k.push_double(-1.5);
            k.push_double(1.5);
            k.push_boolean(true);
            k.push_decimal(-2);
        });
        let hex: String = all.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "018005164423eee800\
             016100ffc3a90000\
             00\
             014007ffffffffffff\
             01bff8000000000000\
             0101\
             017ffffffffffffffffffffffffffffffe"
        );
    }

    #[test]
    fn keys_sort_as_their_values_do() {
        let integers = [i64::MIN, -1, 0, 1, i64::MAX].map(|v| key(|k| k.push_integer(v)));
        assert!(integers.is_sorted());
        let doubles = [
            f64::NEG_INFINITY,
            -1e300,
            -0.0,
            0.0,
            5e-324,
            1.0,
            f64::INFINITY,
            f64::NAN,
        ]
        .map(|v| key(|k| k.push_double(v)));
        assert!(doubles.is_sorted() && doubles[2] != doubles[3]);
        let texts = ["", "\0", "\0a", "a", "a\0", "ab", "b"].map(|v| key(|k| k.push_text(v)));
        assert!(texts.is_sorted());
        assert!(key(KeyBytes::push_null) < texts[0]);
    }

    #[test]
    fn neighbouring_columns_cannot_be_mistaken_for_each_other() {
        let pair = |a: &str, b: &str| {
            key(|k| {
                k.push_text(a);
                k.push_text(b);
            })
        };
        assert_ne!(pair("ab", "c"), pair("a", "bc"));
        assert_ne!(pair("a\0", ""), pair("a", "\0"));
        assert_ne!(
            key(|k| {
                k.push_null();
                k.push_text("");
            }),
            key(|k| {
                k.push_text("");
                k.push_null();
            })
        );
    }
}
