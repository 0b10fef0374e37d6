//! The declared paths as a tree, and the order in which members came last time.
//!
//! Events of one source mostly have the same members in the same order. So each member remembers which one followed it,
//! and its name is compared with that before anything else is tried. Names no column takes are learned too, which
//! also makes finding duplicates a matter of one mark per member.
use hashbrown::HashMap;

use crate::schema::{EventSchema, FieldType, Part};
use crate::token::Token;

/// Stands for "no member": before an object's first one, and where nothing is known of what follows.
pub(crate) const NO_MEMBER: usize = usize::MAX;

/// How many undeclared names an object of the tree learns.
const MAX_LEARNED: usize = 64;
/// Longer undeclared names are not learned.
const MAX_LEARNED_BYTES: usize = 64;
/// After so many names that found no place the learned ones are forgotten, as they seem to be of another time.
const MAX_UNPLACED: u32 = 4096;

/// What a member's value is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The value of this column.
    Column(usize),
    /// An object (index into [`Layout::objects`]) whose members are looked at.
    Object(usize),
    /// Nothing declared.
    Unknown,
}

/// A member that is declared or was seen before.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) token: Token,
    pub(crate) target: Target,
    /// The member that followed it last time.
    pub(crate) next: usize,
    /// Number of the event in which it occurred last.
    seen_in: u64,
}

/// A declared object: the event itself or one that columns' paths pass through.
#[derive(Debug)]
pub(crate) struct Object {
    /// Its path; empty for the event.
    pub(crate) path: String,
    members: Vec<Member>,
    by_name: HashMap<Box<[u8]>, usize>,
    declared: usize,
    first: usize,
    unplaced: u32,
}

/// A column as the reader needs it.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) data_type: FieldType,
    pub(crate) required: bool,
}

/// The tree of declared paths.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) columns: Vec<Column>,
    /// The first is the event itself.
    pub(crate) objects: Vec<Object>,
}

impl Layout {
    /// Of two fields that clash ([`EventSchema::validate`]) the later one stays without a place, so its column is always absent.
    pub(crate) fn new(schema: &EventSchema) -> Self {
        let mut layout = Self {
            columns: Vec::with_capacity(schema.fields.len()),
            objects: vec![Object::new(String::new())],
        };
        for (column, field) in schema.fields.iter().enumerate() {
            layout.columns.push(Column {
                name: field.name.clone(),
                path: field.path_text(),
                data_type: field.data_type,
                // What stands beside the event is missed there.
                required: field.required && field.part == Part::Value,
            });
            layout.place(&field.path, column);
        }
        layout
    }

    fn place(&mut self, path: &[String], column: usize) {
        let Some((last, parents)) = path.split_last() else {
            return;
        };
        let mut object = 0;
        for name in parents {
            let next = self.objects.len();
            let member = self.objects[object].declare(name, Target::Object(next));
            match self.objects[object].members[member].target {
                Target::Object(existing) if existing < next => object = existing,
                Target::Object(_) => {
                    let path = self.objects[object].path_of(name);
                    self.objects.push(Object::new(path));
                    object = next;
                }
                Target::Column(_) | Target::Unknown => return,
            }
        }
        self.objects[object].declare(last, Target::Column(column));
    }
}

impl Member {
    /// Marks it as seen in an event (numbered from 1); false if it already was.
    #[inline(always)]
    pub(crate) fn mark(&mut self, event: u64) -> bool {
        std::mem::replace(&mut self.seen_in, event) != event
    }
}

impl Object {
    fn new(path: String) -> Self {
        Self {
            path,
            members: Vec::new(),
            by_name: HashMap::new(),
            declared: 0,
            first: 0,
            unplaced: 0,
        }
    }

    /// The path of a member.
    pub(crate) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// The member of that name, made if there is none yet.
    fn declare(&mut self, name: &str, target: Target) -> usize {
        if let Some(existing) = self.by_name.get(name.as_bytes()) {
            return *existing;
        }
        let member = self.add(name.as_bytes(), target);
        if member > 0 {
            self.members[member - 1].next = member;
        }
        self.declared = self.members.len();
        member
    }

    fn add(&mut self, name: &[u8], target: Target) -> usize {
        let index = self.members.len();
        self.members.push(Member {
            token: Token::new(name),
            target,
            next: 0,
            seen_in: 0,
        });
        self.by_name.insert(name.into(), index);
        index
    }

    #[inline(always)]
    pub(crate) fn member(&mut self, index: usize) -> Option<&mut Member> {
        self.members.get_mut(index)
    }

    /// The member that is likely to come first.
    #[inline(always)]
    pub(crate) fn first(&self) -> usize {
        self.first
    }

    /// The member of that name, learned if there is room; [`NO_MEMBER`] if not. It is what will be expected after `previous`.
    pub(crate) fn find_after(&mut self, previous: usize, name: &[u8]) -> usize {
        let found = match self.by_name.get(name) {
            Some(found) => *found,
            None => {
                let has_room = self.members.len() < self.declared + MAX_LEARNED;
                if !has_room || name.len() > MAX_LEARNED_BYTES {
                    self.unplaced = self.unplaced.saturating_add(u32::from(!has_room));
                    return NO_MEMBER;
                }
                self.add(name, Target::Unknown)
            }
        };
        match self.members.get_mut(previous) {
            Some(member) => member.next = found,
            None if previous == NO_MEMBER => self.first = found,
            None => {}
        }
        found
    }

    /// Forgets learned names that no longer come. Only between events, as the marks go with them.
    #[inline]
    pub(crate) fn forget_stale(&mut self) {
        if self.unplaced > MAX_UNPLACED {
            self.forget_learned();
        }
    }

    #[cold]
    fn forget_learned(&mut self) {
        let declared = self.declared;
        self.members.truncate(declared);
        self.by_name.retain(|_, index| *index < declared);
        for member in &mut self.members {
            member.next = 0;
        }
        self.first = 0;
        self.unplaced = 0;
    }
}
