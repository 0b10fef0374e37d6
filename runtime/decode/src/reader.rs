//! One event's text read into a [`Row`].
use crate::error::{Code, Fault, Parsed, fault, field_fault, shortened};
use crate::layout::{Layout, NO_MEMBER, Target};
use crate::row::{Row, Slot, Text};
use crate::scan::Scanner;
use crate::schema::UnknownFields;
use crate::value;

/// Longer names get no suggestion: the comparison costs their length times the declared one's.
const MAX_SUGGESTED_FOR_BYTES: usize = 64;

/// Reads one event.
#[derive(Debug)]
pub(crate) struct EventReader<'d, 'a> {
    scan: Scanner<'a>,
    event: &'a str,
    /// Marks members as seen; no two events of a decoder have the same.
    number: u64,
    layout: &'d mut Layout,
    row: &'d mut Row,
    unknown: UnknownFields,
}

/// The place of a member in the event.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The object it stands in.
    object: usize,
    /// How many containers are open around its value.
    depth: usize,
    /// First byte of its name, a quote.
    start: usize,
}

impl<'d, 'a> EventReader<'d, 'a> {
    pub(crate) fn new(
        event: &'a str,
        number: u64,
        layout: &'d mut Layout,
        row: &'d mut Row,
        unknown: UnknownFields,
    ) -> Self {
        Self {
            scan: Scanner::new(event),
            event,
            number,
            layout,
            row,
            unknown,
        }
    }

    /// Reads the event into the row.
    pub(crate) fn read(mut self) -> Parsed<()> {
        self.row.clear();
        for object in &mut self.layout.objects {
            object.forget_stale();
        }
        self.scan.skip_space();
        if self.scan.peek() != b'{' {
            return Err(self.not_an_object());
        }
        let keeps = self.unknown == UnknownFields::Keep;
        if keeps {
            self.row.extra.push('{');
        }
        self.object(0, 0)?;
        if keeps {
            self.close_extra(0);
        }
        self.scan.skip_space();
        if !self.scan.at_end() {
            return Err(self
                .scan
                .unexpected("the end of the event (one object each)"));
        }
        for (column, slot) in self.layout.columns.iter().zip(&self.row.slots) {
            if column.required && *slot == Slot::Absent {
                return Err(value::missing(column));
            }
        }
        Ok(())
    }

    /// Reads a declared object whose brace is next, with `depth` containers open around it.
    fn object(&mut self, object: usize, depth: usize) -> Parsed<()> {
        self.scan.check_depth(depth)?;
        self.scan.take(b'{');
        self.scan.skip_space();
        if self.scan.take(b'}') {
            return Ok(());
        }
        let outer_strays = self.row.strays.len();
        let mut previous = NO_MEMBER;
        let mut expected = self.layout.objects[object].first();
        loop {
            let place = Place {
                object,
                depth: depth + 1,
                start: self.scan.position(),
            };
            (previous, expected) = self.member(place, previous, expected)?;
            self.scan.skip_space();
            if self.scan.take(b',') {
                self.scan.skip_space();
            } else if self.scan.take(b'}') {
                break;
            } else {
                return Err(self.scan.unexpected("',' or '}' after a member"));
            }
        }
        if self.row.strays.len() > outer_strays {
            self.refuse_equal_strays(object, outer_strays)?;
        }
        Ok(())
    }

    /// Reads a member and returns its index in the layout, and that of the member that is likely to follow.
    #[inline(always)]
    fn member(&mut self, place: Place, previous: usize, expected: usize) -> Parsed<(usize, usize)> {
        let object = &mut self.layout.objects[place.object];
        let (index, target, next) = match object.member(expected) {
            Some(member) if self.scan.take_token(&member.token) => {
                if !member.mark(self.number) {
                    return Err(self.duplicate(place, expected));
                }
                (expected, member.target, member.next)
            }
            _ => self.unexpected_name(place, previous)?,
        };
        let name_end = self.scan.position() - 1;
        self.scan.count_member()?;
        self.scan.skip_space();
        match target {
            Target::Column(column) => self.column(column, place.depth)?,
            Target::Object(object) => self.nested(object, place, name_end)?,
            Target::Unknown => self.unknown(place)?,
        }
        Ok((index, next))
    }

    /// A name other than last time: the member's index, its target and what is likely to follow.
    #[inline(never)]
    fn unexpected_name(&mut self, place: Place, previous: usize) -> Parsed<(usize, Target, usize)> {
        let object = &mut self.layout.objects[place.object];
        let raw = self.scan.member_name().map_err(|fault| {
            let rest = self.event.get(place.start..).unwrap_or_default();
            let name = rest.split('"').nth(1).unwrap_or_default();
            value::naming(fault, &object.path_of(&shortened(name, 40)))
        })?;
        let text = self.row.text(self.event, raw);
        let name = self.row.resolve(self.event, text);
        let index = object.find_after(previous, name.as_bytes());
        let Some(member) = object.member(index) else {
            self.row.strays.push(text);
            return Ok((previous, Target::Unknown, NO_MEMBER));
        };
        if !member.mark(self.number) {
            return Err(self.duplicate(place, index));
        }
        Ok((index, member.target, member.next))
    }

    #[inline]
    fn column(&mut self, index: usize, depth: usize) -> Parsed<()> {
        let column = &self.layout.columns[index];
        self.row.slots[index] = value::read(&mut self.scan, self.event, self.row, column, depth)?;
        Ok(())
    }

    /// An object that columns' paths pass through.
    fn nested(&mut self, index: usize, place: Place, name_end: usize) -> Parsed<()> {
        match self.scan.peek() {
            b'n' => return self.scan.literal("null"),
            b'{' => {}
            _ => return Err(self.not_nested(index, place.depth)),
        }
        if self.unknown != UnknownFields::Keep {
            return self.object(index, place.depth);
        }
        let before = self.row.extra.len();
        self.separate_extra();
        self.row
            .extra
            .push_str(self.event.get(place.start..name_end).unwrap_or_default());
        self.row.extra.push_str(":{");
        let opened = self.row.extra.len();
        self.object(index, place.depth)?;
        if self.row.extra.len() == opened {
            self.row.extra.truncate(before);
        } else {
            self.row.extra.push('}');
        }
        Ok(())
    }

    /// A member that no column takes.
    #[inline]
    fn unknown(&mut self, place: Place) -> Parsed<()> {
        if self.unknown == UnknownFields::Reject {
            return Err(self.undeclared(place));
        }
        if let Err(fault) = self.scan.skip_value(place.depth) {
            return Err(value::naming(fault, &self.path_at(place)));
        }
        if self.unknown == UnknownFields::Keep {
            self.separate_extra();
            let member = self.event.get(place.start..self.scan.position());
            self.row.extra.push_str(member.unwrap_or_default());
        }
        Ok(())
    }

    /// A comma, unless the member is the first of its object.
    #[inline]
    fn separate_extra(&mut self) {
        if !self.row.extra.ends_with('{') {
            self.row.extra.push(',');
        }
    }

    /// Ends the object that was opened at `start`; one without members vanishes.
    fn close_extra(&mut self, start: usize) {
        if self.row.extra.ends_with('{') {
            self.row.extra.truncate(start);
        } else {
            self.row.extra.push('}');
        }
    }

    /// Names that were not learned are compared with each other when their object ends.
    #[cold]
    fn refuse_equal_strays(&mut self, object: usize, outer: usize) -> Parsed<()> {
        let strays = self.row.strays.split_off(outer);
        let mut names: Vec<&str> = strays
            .iter()
            .map(|name| self.row.resolve(self.event, *name))
            .collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(duplicate_of(&self.layout.objects[object].path_of(pair[0]))),
            None => Ok(()),
        }
    }

    #[cold]
    fn duplicate(&mut self, place: Place, member: usize) -> Fault {
        let target = self.layout.objects[place.object]
            .member(member)
            .map(|member| member.target);
        match target {
            Some(Target::Column(index)) => duplicate_of(&self.layout.columns[index].name),
            Some(Target::Object(index)) => duplicate_of(&self.layout.objects[index].path),
            _ => duplicate_of(&self.path_at(place)),
        }
    }

    /// The path of the member whose name begins at `place.start`.
    #[cold]
    fn path_at(&mut self, place: Place) -> String {
        let mut scan = Scanner::new(self.event.get(place.start..).unwrap_or_default());
        let Ok(raw) = scan.string() else {
            return self.layout.objects[place.object].path.clone();
        };
        let text = self
            .row
            .text(self.event.get(place.start..).unwrap_or_default(), raw);
        let name = match text {
            Text::Plain { .. } => scan.slice(raw.start, raw.end),
            Text::Decoded { .. } => self.row.resolve(self.event, text),
        };
        self.layout.objects[place.object].path_of(name)
    }

    #[cold]
    fn undeclared(&mut self, place: Place) -> Fault {
        let path = self.path_at(place);
        let reason = match self.nearest_path(&path) {
            Some(nearest) => format!(
                "is not a declared field; send `{nearest}` if that is meant, or leave it out"
            ),
            None => "is not a declared field; leave it out, or declare it".to_owned(),
        };
        field_fault(&path, Code::UnknownField, reason)
    }

    fn nearest_path(&self, path: &str) -> Option<&str> {
        if path.len() > MAX_SUGGESTED_FOR_BYTES {
            return None;
        }
        // Shared objects make any two paths alike, so the last segment alone decides how far is too far.
        let last = path.rsplit('.').next().unwrap_or(path);
        let tolerated = (last.chars().count() / 3).max(1);
        self.layout
            .columns
            .iter()
            .map(|column| {
                // Who knows the column may take its name for the member's.
                let distance = strsim::damerau_levenshtein(&column.path, path)
                    .min(strsim::damerau_levenshtein(&column.name, path));
                (distance, column.path.as_str())
            })
            .filter(|(distance, _)| *distance <= tolerated)
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, nearest)| nearest)
    }

    #[cold]
    fn not_nested(&mut self, index: usize, depth: usize) -> Fault {
        let path = &self.layout.objects[index].path;
        match value::describe(&mut self.scan, depth) {
            Ok(found) => field_fault(
                path,
                Code::WrongType,
                format!("is {found}, but fields are declared inside it; send an object"),
            ),
            Err(fault) => value::naming(fault, path),
        }
    }

    #[cold]
    fn not_an_object(&mut self) -> Fault {
        if self.scan.at_end() {
            return fault(Code::Empty, "the event is empty; send a JSON object");
        }
        if self.event.starts_with('\u{feff}') {
            return fault(
                Code::Malformed,
                "not JSON: a byte order mark (UTF-8 BOM) at the start; save or send the data without it",
            );
        }
        match value::describe(&mut self.scan, 0) {
            Ok(found) => fault(
                Code::NotAnObject,
                format!("the event is {found}; send a JSON object, as in {{\"name\": \"value\"}}"),
            ),
            Err(fault) => fault,
        }
    }
}

#[cold]
fn duplicate_of(path: &str) -> Fault {
    field_fault(
        path,
        Code::DuplicateField,
        "occurs twice in one object; send it once",
    )
}
