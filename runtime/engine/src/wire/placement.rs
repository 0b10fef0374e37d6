//! Which partition of a partials topic a group goes to: xxh3-64 of its encoded key, modulo the partitions.
//!
//! Each key column is `0` for NULL, or `1` and the value: integers, timestamps and dates as 8 bytes little endian, decimals as 16,
//! doubles as the 8 bytes of their bits, booleans as one byte, text as a 4-byte length and its UTF-8 bytes.
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int64Type, TimeUnit,
    TimestampMicrosecondType,
};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::WireError;

/// The partition of each row's group.
pub fn partitions(keys: &[ArrayRef], rows: usize, partitions: u32) -> Result<Vec<u32>, WireError> {
    let encoders = encoders(keys)?;
    let mut buffer = Vec::with_capacity(64);
    Ok((0..rows)
        .map(|row| {
            encode_row(&encoders, row, &mut buffer);
            (xxh3_64(&buffer) % u64::from(partitions.max(1))) as u32
        })
        .collect())
}

/// A 128-bit fingerprint of each row's key, the same encoding hashed with xxh3-128.
pub fn fingerprints(keys: &[ArrayRef], rows: usize) -> Result<Vec<u128>, WireError> {
    let encoders = encoders(keys)?;
    let mut buffer = Vec::with_capacity(64);
    Ok((0..rows)
        .map(|row| {
            encode_row(&encoders, row, &mut buffer);
            xxh3_128(&buffer)
        })
        .collect())
}

type Encoder<'a> = Box<dyn Fn(usize, &mut Vec<u8>) + 'a>;

fn encode_row(encoders: &[Encoder<'_>], row: usize, buffer: &mut Vec<u8>) {
    buffer.clear();
    encoders.iter().for_each(|encode| encode(row, buffer));
}

fn encoders(keys: &[ArrayRef]) -> Result<Vec<Encoder<'_>>, WireError> {
    keys.iter().map(encoder).collect()
}

fn encoder(array: &ArrayRef) -> Result<Encoder<'_>, WireError> {
    let value: Encoder<'_> = match array.data_type() {
        DataType::Utf8 => {
            let text = array.as_string::<i32>();
            Box::new(move |row, out| {
                out.extend((text.value(row).len() as u32).to_le_bytes());
                out.extend(text.value(row).as_bytes());
            })
        }
        DataType::Int64 => {
            let values = array.as_primitive::<Int64Type>();
            Box::new(move |row, out| out.extend(values.value(row).to_le_bytes()))
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>();
            Box::new(move |row, out| out.extend(values.value(row).to_bits().to_le_bytes()))
        }
        DataType::Boolean => {
            let values = array.as_boolean();
            Box::new(move |row, out| out.push(u8::from(values.value(row))))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let values = array.as_primitive::<TimestampMicrosecondType>();
            Box::new(move |row, out| out.extend(values.value(row).to_le_bytes()))
        }
        DataType::Date32 => {
            let values = array.as_primitive::<Date32Type>();
            Box::new(move |row, out| out.extend(i64::from(values.value(row)).to_le_bytes()))
        }
        DataType::Decimal128(_, _) => {
            let values = array.as_primitive::<Decimal128Type>();
            Box::new(move |row, out| out.extend(values.value(row).to_le_bytes()))
        }
        other => {
            return Err(WireError::new(
                "group key",
                format!("{other} cannot be a key"),
            ));
        }
    };
    Ok(Box::new(move |row, out| {
        if array.is_null(row) {
            out.push(0);
        } else {
            out.push(1);
            value(row, out);
        }
    }))
}
