//! Values that name schemas: framing, which schemas are asked for, and schemas that values cannot be read with. Of every encoding.
use tidewheel_decode::avro::AvroSchema;
use tidewheel_decode::framed::{Encoding, FramedValues, framed};
use tidewheel_decode::protobuf::ProtobufSchema;
use tidewheel_decode::writer_schema::WriterSchema;

/// A value that names a schema.
pub(crate) fn value(id: u32, encoding: &[u8]) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes(), encoding].concat()
}

/// What is read of one value, or the word for why it is not.
pub(crate) fn read(values: &mut FramedValues, value: &[u8]) -> Result<String, &'static str> {
    let read = values.read([value]).remove(0);
    read.map(|json| String::from_utf8(json).unwrap())
        .map_err(|error| error.code)
}

fn avro() -> WriterSchema {
    let schema = r#"{"type": "record", "name": "E", "fields": [{"name": "v", "type": "int"}]}"#;
    WriterSchema::Avro(AvroSchema::parse(schema, &[]).unwrap())
}

fn protobuf() -> WriterSchema {
    let schema = "syntax = 'proto3'; message E { int32 v = 1; }";
    WriterSchema::Protobuf(ProtobufSchema::parse(schema, &[]).unwrap())
}

/// Each encoding with a schema of it, a value of that whose `v` is 1, a schema of another kind, and the word for what is not in it.
fn encodings() -> [(
    Encoding,
    WriterSchema,
    &'static [u8],
    WriterSchema,
    &'static str,
); 2] {
    [
        (Encoding::Avro, avro(), b"\x02", protobuf(), "NotAvro"),
        (
            Encoding::Protobuf,
            protobuf(),
            b"\x00\x08\x01",
            avro(),
            "NotProtobuf",
        ),
    ]
}

#[test]
fn what_is_not_known_is_asked_for_and_what_was_absent_again() {
    let of = value(258, b"\x02");
    assert_eq!(framed(&of), Some((258, &b"\x02"[..])));
    for (encoding, schema, encoded, ..) in encodings() {
        let mut values = FramedValues::new(encoding);
        let of = value(258, encoded);
        assert_eq!(values.unknown(&of), Some(258));
        assert_eq!(values.unknown(b"{}"), None);
        values.learn(258, &WriterSchema::Absent);
        assert_eq!(values.unknown(&of), Some(258));
        values.learn(258, &WriterSchema::Unreadable("it is made up".to_owned()));
        assert_eq!(values.unknown(&of), None);
        values.learn(258, &schema);
        assert_eq!(values.unknown(&of), None);
        assert_eq!(read(&mut values, &of), Ok(r#"{"v":1}"#.to_owned()));
    }
}

#[test]
fn values_without_a_schema_that_they_can_be_read_with_are_refused_alone() {
    for (encoding, schema, encoded, other, word) in encodings() {
        let mut values = FramedValues::new(encoding);
        values.learn(1, &schema);
        values.learn(2, &other);
        values.learn(3, &WriterSchema::Other("JSON".to_owned()));
        values.learn(4, &WriterSchema::Absent);
        values.learn(5, &WriterSchema::Unreadable("it is made up".to_owned()));
        let sent = [
            value(1, encoded),
            value(2, encoded),
            value(3, encoded),
            value(4, encoded),
            value(5, encoded),
            value(6, encoded),
            b"".to_vec(),
            b"\x00\x00\x00\x00".to_vec(),
            br#"{"v": 1}"#.to_vec(),
            value(1, &[0; 1 << 20]),
            value(1, encoded),
        ];
        let read = values.read(sent.iter().map(Vec::as_slice));
        let row = Ok(&br#"{"v":1}"#[..]);
        assert_eq!((read[0].as_deref(), read[10].as_deref()), (row, row));
        let told = read[1..10].iter().map(|read| {
            let error = read.as_ref().unwrap_err();
            (error.code, error.reason.as_str())
        });
        let (name, other) = match encoding {
            Encoding::Avro => ("AVRO", "PROTOBUF"),
            Encoding::Protobuf => ("PROTOBUF", "AVRO"),
        };
        let named = |id, rest: &str| format!("the schema {id} that the value names {rest}");
        let unframed = "the value does not begin with a zero byte and the id of a schema, as serializers of a schema registry write it";
        let wanted = [
            (word, named(2, &format!("is {other}, not {name}"))),
            (word, named(3, &format!("is JSON, not {name}"))),
            (word, named(4, "is not in the schema registry")),
            (word, named(5, "cannot be read with: it is made up")),
            (word, "nobody has asked for the schema 6 that the value names".to_owned()),
            (word, unframed.to_owned()),
            (word, unframed.to_owned()),
            (word, unframed.to_owned()),
            ("TooLarge", "the event has 1048581 bytes, more than the 1048576 that are allowed; split it, or send less".to_owned()),
        ];
        let wanted = wanted.iter().map(|(word, reason)| (*word, reason.as_str()));
        assert_eq!(told.collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
    }
}
