//! Random events, damaged or not, judged by serde_json and the rules that the crate's page adds to JSON's.
use std::fmt;

use arrow::array::AsArray;
use arrow::datatypes::Float64Type;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};
use tidewheel_decode::{FieldType, UnknownFields};

use crate::fixture::{cell, decoder, field, required};

/// JSON with every member, equal names too.
#[derive(Debug, Clone, PartialEq)]
enum Tree {
    Null,
    Boolean(bool),
    Whole(i64),
    Double(f64),
    Text(String),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

struct TreeVisitor;

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Boolean(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Whole(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(i64::try_from(value).map_or(Tree::Double(value as f64), Tree::Whole))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Double(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = access.next_element()? {
            elements.push(element);
        }
        Ok(Tree::Array(elements))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = access.next_entry()? {
            members.push(member);
        }
        Ok(Tree::Object(members))
    }
}

impl Tree {
    fn holds_nul(&self) -> bool {
        match self {
            Tree::Text(text) => text.contains('\0'),
            Tree::Array(elements) => elements.iter().any(Tree::holds_nul),
            Tree::Object(members) => members
                .iter()
                .any(|(name, value)| name.contains('\0') || value.holds_nul()),
            _ => false,
        }
    }

    fn depth(&self) -> usize {
        match self {
            Tree::Array(elements) => 1 + elements.iter().map(Tree::depth).max().unwrap_or(0),
            Tree::Object(members) => {
                1 + members
                    .iter()
                    .map(|(_, value)| value.depth())
                    .max()
                    .unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// The value of a member; an error for a name that occurs twice, or where this is no object.
    fn members(&self) -> Result<&[(String, Tree)], ()> {
        let Tree::Object(members) = self else {
            return Err(());
        };
        let mut names: Vec<&String> = members.iter().map(|(name, _)| name).collect();
        names.sort();
        match names.windows(2).any(|pair| pair[0] == pair[1]) {
            true => Err(()),
            false => Ok(members),
        }
    }
}

fn member<'t>(members: &'t [(String, Tree)], name: &str) -> &'t Tree {
    members
        .iter()
        .find(|(candidate, _)| candidate == name)
        .map_or(&Tree::Null, |(_, value)| value)
}

/// Whether the bigint was rounded to a double on the way, so that its exact value is lost here.
fn is_beyond_serde(tree: &Tree) -> bool {
    let Tree::Object(members) = tree else {
        return false;
    };
    matches!(member(members, "n"), Tree::Double(value) if value.abs() >= (1u64 << 53) as f64)
}

/// The columns `t` (text, required), `n` (bigint), `d` (double at `o.d`), `b` (boolean at `o.b`), or a refusal.
fn expected(tree: &Tree) -> Result<[Tree; 4], ()> {
    if tree.holds_nul() || tree.depth() > 64 {
        return Err(());
    }
    let top = tree.members()?;
    let inner = match member(top, "o") {
        Tree::Null => &[],
        inner => inner.members()?,
    };
    let text = match member(top, "t") {
        Tree::Text(text) => Tree::Text(text.clone()),
        _ => return Err(()),
    };
    let whole = match member(top, "n") {
        Tree::Null => Tree::Null,
        Tree::Whole(value) => Tree::Whole(*value),
        Tree::Double(value) if value.fract() == 0.0 => Tree::Whole(*value as i64),
        _ => return Err(()),
    };
    let double = match member(inner, "d") {
        Tree::Null => Tree::Null,
        Tree::Whole(value) => Tree::Double(*value as f64),
        Tree::Double(value) => Tree::Double(*value),
        _ => return Err(()),
    };
    let boolean = match member(inner, "b") {
        value @ (Tree::Null | Tree::Boolean(_)) => value.clone(),
        _ => return Err(()),
    };
    Ok([text, whole, double, boolean])
}

/// Writes random JSON, mostly of the declared shape.
struct Author {
    rng: ChaCha8Rng,
    text: String,
}

impl Author {
    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.rng.random_range(0..choices.len())]
    }

    fn space(&mut self) {
        if self.rng.random_ratio(1, 8) {
            let space = self.pick(&[" ", "\n", "\t", "\r\n", "   "]);
            self.text.push_str(space);
        }
    }

    fn put(&mut self, choices: &[&str]) {
        let choice = self.pick(choices);
        self.text.push_str(choice);
    }

    fn string(&mut self) {
        self.text.push('"');
        for _ in 0..self.rng.random_range(0..12) {
            self.put(&[
                "a",
                "Z",
                "7",
                " ",
                "é",
                "€",
                "😀",
                "\\n",
                "\\\"",
                "\\\\",
                "\\/",
                "\\u00e9",
                "\\ud83d\\ude00",
                "{",
                "}",
                "[",
                ",",
                ":",
                "longer text without anything special",
            ]);
        }
        self.text.push('"');
    }

    fn number(&mut self) {
        self.put(&["", "", "-"]);
        self.put(&[
            "0",
            "1",
            "42",
            "9007199254740993",
            "123456",
            "9223372036854775807",
            "77777777777777777777",
        ]);
        self.put(&["", "", "", ".0", ".5", ".125", ".000000"]);
        self.put(&["", "", "", "e0", "E+2", "e-2", "e10"]);
    }

    fn value(&mut self, depth: usize) {
        self.space();
        match self.rng.random_range(0..if depth > 4 { 5 } else { 7 }) {
            0 => self.string(),
            1 | 2 => self.number(),
            3 => self.put(&["true", "false"]),
            4 => self.put(&["null"]),
            5 => {
                self.text.push('[');
                for index in 0..self.rng.random_range(0..4) {
                    if index > 0 {
                        self.text.push(',');
                    }
                    self.value(depth + 1);
                }
                self.text.push(']');
            }
            _ => self.object(depth + 1, &["a", "b", "c d", "\\u0061x", "é"]),
        }
        self.space();
    }

    fn object(&mut self, depth: usize, names: &[&str]) {
        self.text.push('{');
        let mut left: Vec<&str> = names.to_vec();
        let mut is_first = true;
        while !left.is_empty() {
            let at = self.rng.random_range(0..left.len());
            // Now and then a name stays in the list, and may come again.
            let name = if self.rng.random_ratio(1, 50) {
                left[at]
            } else {
                left.swap_remove(at)
            };
            if self.rng.random_ratio(1, 4) {
                continue;
            }
            if !is_first {
                self.text.push(',');
            }
            is_first = false;
            self.space();
            self.text.push('"');
            self.text.push_str(name);
            self.text.push('"');
            self.space();
            self.text.push(':');
            self.member_value(name, depth);
        }
        self.text.push('}');
    }

    fn member_value(&mut self, name: &str, depth: usize) {
        if depth > 1 || self.rng.random_ratio(1, 20) {
            return self.value(depth);
        }
        self.space();
        match name {
            "t" | "\\u0074" => self.string(),
            "n" => self.put(&["1", "-7.0", "12e2", "9223372036854775807", "null", "0"]),
            "o" => {
                self.text.push_str("{\"d\":");
                self.number();
                self.text.push_str(",\"b\":");
                self.put(&["true", "false", "null"]);
                self.put(&["", ",\"x\":[]", ",\"d2\":{}"]);
                self.text.push('}');
            }
            _ => self.value(depth),
        }
        self.space();
    }

    fn event(&mut self) -> Vec<u8> {
        self.text.clear();
        self.object(0, &["t", "n", "o", "x", "y", "t", "\\u0074t"]);
        let mut event = std::mem::take(&mut self.text).into_bytes();
        if self.rng.random_bool(0.5) {
            self.damage(&mut event);
        }
        event
    }

    fn damage(&mut self, event: &mut Vec<u8>) {
        const BYTES: &[u8] = b"{}[]:,\"\\/u0019.-+eEtfnal \n\0\x1f\x7f\x80\xc3\xed\xa0\xf5";
        for _ in 0..self.rng.random_range(1..3) {
            let at = self.rng.random_range(0..event.len());
            let byte = BYTES[self.rng.random_range(0..BYTES.len())];
            match self.rng.random_range(0..5) {
                0 => event.truncate(at.max(1)),
                1 => event.insert(at, byte),
                2 if event.len() > 1 => drop(event.remove(at)),
                _ => event[at] = byte,
            }
        }
    }
}

#[test]
fn random_events_are_judged_and_read_as_serde_json_does() {
    let fields = || {
        vec![
            required("t", "t", FieldType::Text),
            field("n", "n", FieldType::Bigint),
            field("d", "o.d", FieldType::Double),
            field("b", "o.b", FieldType::Boolean),
        ]
    };
    let mut keep = decoder(fields(), UnknownFields::Keep);
    let mut drop = decoder(fields(), UnknownFields::Drop);
    let mut author = Author {
        rng: ChaCha8Rng::seed_from_u64(3),
        text: String::new(),
    };
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..200_000 {
        let event = author.event();
        let shown = String::from_utf8_lossy(&event);
        let judged = match serde_json::from_slice::<Tree>(&event) {
            Ok(tree) if is_beyond_serde(&tree) => continue,
            Ok(tree) => expected(&tree),
            // serde_json parses every number, we only those of columns.
            Err(error) if error.to_string().starts_with("number out of range") => continue,
            Err(_) => Err(()),
        };
        let kept = keep.decode([event.as_slice()]);
        let dropped = drop.decode([event.as_slice()]);
        assert_eq!(kept.refused, dropped.refused, "{shown}");
        let Ok(expected) = judged else {
            assert!(!kept.refused.is_empty(), "accepted: {shown}");
            refused += 1;
            continue;
        };
        if let Some((_, error)) = kept.refused.first() {
            panic!("refused: {shown}: {error}");
        }
        accepted += 1;
        for (index, expected) in expected.iter().enumerate() {
            for batch in [&kept.batch, &dropped.batch] {
                compare(batch.column(index), expected, &shown);
            }
        }
        let extra = cell(kept.batch.column(4), 0);
        assert!(
            extra == "NULL" || serde_json::from_str::<Tree>(&extra).is_ok(),
            "{extra}"
        );
    }
    assert!(
        accepted > 20_000 && refused > 20_000,
        "{accepted} {refused}"
    );
}

fn compare(column: &dyn arrow::array::Array, expected: &Tree, shown: &str) {
    let value = cell(column, 0);
    match expected {
        Tree::Null => assert_eq!(value, "NULL", "{shown}"),
        Tree::Text(text) => assert_eq!(&value, text, "{shown}"),
        Tree::Whole(whole) => assert_eq!(value, whole.to_string(), "{shown}"),
        Tree::Boolean(boolean) => assert_eq!(value, boolean.to_string(), "{shown}"),
        Tree::Double(double) => {
            // serde_json may be off by the last bit, see `a_double_is_the_nearest_one`.
            let value = column.as_primitive::<Float64Type>().value(0);
            let error = (value - double).abs();
            assert!(error <= double.abs() * 1e-15, "{value} {double} {shown}");
        }
        Tree::Array(_) | Tree::Object(_) => panic!("no column is a container"),
    }
}
