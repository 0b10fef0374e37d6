//! Values of other encodings as JSON.
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A text or a finite number.
pub(crate) fn write_json(value: &(impl serde::Serialize + ?Sized), json: &mut Vec<u8>) {
    // Texts and finite numbers have a form in JSON, and what goes to memory is always written.
    let _ = serde_json::to_writer(json, value);
}

/// Bytes, in a string.
pub(crate) fn write_base64(bytes: &[u8], json: &mut Vec<u8>) {
    // As above.
    let _ = write!(json, "\"{}\"", STANDARD.encode(bytes));
}

/// A number, or what it is in a string where it is none.
pub(crate) fn write_float(float: impl Into<f64> + serde::Serialize + Copy, json: &mut Vec<u8>) {
    let value: f64 = float.into();
    if value.is_finite() {
        write_json(&float, json);
    } else if value.is_nan() {
        write_json("NaN", json);
    } else if value > 0.0 {
        write_json("Infinity", json);
    } else {
        write_json("-Infinity", json);
    }
}
