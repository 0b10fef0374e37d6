//! Rows of Arrow as JSON, where `arrow-json` has no form for them or one that loses what they say.
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, AsArray as _, RecordBatch, StructArray, UnionArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow_json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};

use crate::json::{write_base64, write_float, write_json};

/// What the metadata of a field says of its logical type, where `arrow-avro` has no type of Arrow for it.
const LOGICAL_TYPE: &str = "logicalType";

static OPTIONS: LazyLock<EncoderOptions> = LazyLock::new(|| {
    EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(Forms))
});

/// Each row as a JSON object.
pub(super) fn write_rows(batch: RecordBatch) -> Result<Vec<Vec<u8>>, ArrowError> {
    let rows = StructArray::from(batch);
    let field: FieldRef = Arc::new(Field::new("", rows.data_type().clone(), false));
    let mut encoder = make_encoder(&field, &rows, &OPTIONS)?;
    let rows = (0..rows.len()).map(|row| {
        let mut json = Vec::new();
        encoder.encode(row, &mut json);
        json
    });
    Ok(rows.collect())
}

/// Makes the encoders that `arrow-json` does not have as they are needed here.
#[derive(Debug)]
struct Forms;

impl EncoderFactory for Forms {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Float32 => {
                let values = array.as_primitive::<Float32Type>();
                written(move |row, json| write_float(values.value(row), json))
            }
            DataType::Float64 => {
                let values = array.as_primitive::<Float64Type>();
                written(move |row, json| write_float(values.value(row), json))
            }
            DataType::Binary => {
                let values = array.as_binary::<i32>();
                written(move |row, json| write_base64(values.value(row), json))
            }
            DataType::FixedSizeBinary(_) if is_uuid(field) => {
                let values = array.as_fixed_size_binary();
                written(
                    move |row, json| match uuid::Uuid::from_slice(values.value(row)) {
                        Ok(uuid) => write_json(&uuid.to_string(), json),
                        Err(_) => write_base64(values.value(row), json),
                    },
                )
            }
            DataType::FixedSizeBinary(_) => {
                let values = array.as_fixed_size_binary();
                written(move |row, json| write_base64(values.value(row), json))
            }
            DataType::Date32
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Timestamp(_, _) => {
                let texts = ArrayFormatter::try_new(array, &TIMES)?;
                written(move |row, json| match texts.value(row).try_to_string() {
                    Ok(text) => write_json(&text, json),
                    Err(_) => write_json("a time that no calendar has", json),
                })
            }
            DataType::Union(_, _) => Box::new(Union::new(array.as_union(), options)?),
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, nulls(array))))
    }
}

/// As in RFC 3339.
static TIMES: FormatOptions<'static> = FormatOptions::new().with_display_error(false);

/// Of a union, its branches know what is null.
fn nulls(array: &dyn Array) -> Option<NullBuffer> {
    array.nulls().cloned()
}

fn is_uuid(field: &Field) -> bool {
    let logical = field.metadata().get(LOGICAL_TYPE);
    logical.is_some_and(|logical| logical.trim_matches('"') == "uuid")
}

struct Written<F>(F);

impl<F: FnMut(usize, &mut Vec<u8>)> Encoder for Written<F> {
    fn encode(&mut self, row: usize, json: &mut Vec<u8>) {
        (self.0)(row, json);
    }
}

fn written<'a>(write: impl FnMut(usize, &mut Vec<u8>) + 'a) -> Box<dyn Encoder + 'a> {
    Box::new(Written(write))
}

/// The value of a union, without its type.
struct Union<'a> {
    values: &'a UnionArray,
    /// By type id.
    branches: Vec<(i8, NullableEncoder<'a>)>,
}

impl<'a> Union<'a> {
    fn new(values: &'a UnionArray, options: &'a EncoderOptions) -> Result<Self, ArrowError> {
        let DataType::Union(fields, _) = values.data_type() else {
            return Err(ArrowError::JsonError("a union is of no union".to_owned()));
        };
        let branches = fields.iter().map(|(id, field)| {
            let encoder = make_encoder(field, values.child(id), options)?;
            Ok((id, encoder))
        });
        let branches = branches.collect::<Result<_, ArrowError>>()?;
        Ok(Self { values, branches })
    }
}

impl Encoder for Union<'_> {
    fn encode(&mut self, row: usize, json: &mut Vec<u8>) {
        let (id, at) = (self.values.type_id(row), self.values.value_offset(row));
        let branch = self.branches.iter_mut().find(|(branch, _)| *branch == id);
        match branch {
            Some((_, values)) if !values.is_null(at) => values.encode(at, json),
            _ => json.extend_from_slice(b"null"),
        }
    }
}
