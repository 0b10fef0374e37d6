//! Random SQL: expressions of whole numbers over the columns of an event, each with what it comes to by the rules of SQL.
use std::fmt;

use super::event::Event;
use super::world::World;

/// An expression; NULL where the columns that it needs are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Formula {
    N,
    D,
    Constant(i64),
    Plus(Box<[Self; 2]>),
    Minus(Box<[Self; 2]>),
    Times(Box<[Self; 2]>),
    Coalesce(Box<[Self; 2]>),
    Case(Box<(Condition, [Self; 2])>),
}

/// A condition, which is neither true nor false where it cannot be told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Condition {
    Less(Box<[Formula; 2]>),
    IsNull(Box<Formula>),
    IsKind(&'static str),
    And(Box<[Self; 2]>),
    Or(Box<[Self; 2]>),
    Not(Box<Self>),
}

/// What an aggregate function makes of a formula.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aggregation {
    Count,
    Max,
    Min,
    Sum,
}

impl Formula {
    /// A formula that nests at most so deep.
    pub(crate) fn draw(chance: &World, depth: usize) -> Self {
        let pair = || Box::new([Self::draw(chance, depth - 1), Self::draw(chance, depth - 1)]);
        let kinds = if depth == 0 { 3 } else { 9 };
        match chance.below(kinds) {
            0 => Self::N,
            1 => Self::D,
            2 => Self::Constant(chance.between(-9, 20)),
            3 => Self::Plus(pair()),
            4 => Self::Minus(pair()),
            5 => Self::Times(pair()),
            6 => Self::Coalesce(pair()),
            _ => {
                let condition = Condition::draw(chance, depth - 1);
                Self::Case(Box::new((condition, *pair())))
            }
        }
    }

    pub(crate) fn of(&self, event: &Event) -> Option<i64> {
        let both = |[a, b]: &[Self; 2]| Some((a.of(event)?, b.of(event)?));
        match self {
            Self::N => event.n,
            Self::D => event.d,
            Self::Constant(constant) => Some(*constant),
            Self::Plus(pair) => both(pair).map(|(a, b)| a + b),
            Self::Minus(pair) => both(pair).map(|(a, b)| a - b),
            Self::Times(pair) => both(pair).map(|(a, b)| a * b),
            Self::Coalesce(pair) => pair[0].of(event).or_else(|| pair[1].of(event)),
            Self::Case(case) => match case.0.of(event) {
                Some(true) => case.1[0].of(event),
                Some(false) | None => case.1[1].of(event),
            },
        }
    }
}

impl Condition {
    pub(crate) fn draw(chance: &World, depth: usize) -> Self {
        let formula = || Formula::draw(chance, depth.min(1));
        let kinds = if depth == 0 { 3 } else { 6 };
        match chance.below(kinds) {
            0 => Self::Less(Box::new([formula(), formula()])),
            1 => Self::IsNull(Box::new(formula())),
            2 => Self::IsKind(["a", "b", "c"][chance.below(3)]),
            3 => Self::Not(Box::new(Self::draw(chance, depth - 1))),
            and_or => {
                let pair = [Self::draw(chance, depth - 1), Self::draw(chance, depth - 1)];
                match and_or {
                    4 => Self::And(Box::new(pair)),
                    _ => Self::Or(Box::new(pair)),
                }
            }
        }
    }

    pub(crate) fn of(&self, event: &Event) -> Option<bool> {
        match self {
            Self::Less(pair) => Some(pair[0].of(event)? < pair[1].of(event)?),
            Self::IsNull(formula) => Some(formula.of(event).is_none()),
            Self::IsKind(kind) => Some(event.kind? == *kind),
            Self::And(pair) => match (pair[0].of(event), pair[1].of(event)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (a, b) => Some(a? && b?),
            },
            Self::Or(pair) => match (pair[0].of(event), pair[1].of(event)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (a, b) => Some(a? || b?),
            },
            Self::Not(condition) => condition.of(event).map(|is| !is),
        }
    }
}

impl Aggregation {
    pub(crate) const ALL: [Self; 4] = [Self::Count, Self::Max, Self::Min, Self::Sum];

    pub(crate) fn of(self, values: impl Iterator<Item = Option<i64>>) -> Option<i64> {
        let values = values.flatten();
        match self {
            Self::Count => Some(values.count() as i64),
            Self::Max => values.max(),
            Self::Min => values.min(),
            Self::Sum => values.reduce(|a, b| a + b),
        }
    }
}

impl fmt::Display for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::N => f.write_str("n"),
            Self::D => f.write_str("d"),
            Self::Constant(constant) => write!(f, "{constant}"),
            Self::Plus(pair) => write!(f, "({} + {})", pair[0], pair[1]),
            Self::Minus(pair) => write!(f, "({} - ({}))", pair[0], pair[1]),
            Self::Times(pair) => write!(f, "({} * ({}))", pair[0], pair[1]),
            Self::Coalesce(pair) => write!(f, "coalesce({}, {})", pair[0], pair[1]),
            Self::Case(case) => {
                let (condition, [then, or_else]) = case.as_ref();
                write!(f, "CASE WHEN {condition} THEN {then} ELSE {or_else} END")
            }
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Less(pair) => write!(f, "({} < {})", pair[0], pair[1]),
            Self::IsNull(formula) => write!(f, "({formula} IS NULL)"),
            Self::IsKind(kind) => write!(f, "(kind = '{kind}')"),
            Self::And(pair) => write!(f, "({} AND {})", pair[0], pair[1]),
            Self::Or(pair) => write!(f, "({} OR {})", pair[0], pair[1]),
            Self::Not(condition) => write!(f, "(NOT {condition})"),
        }
    }
}

impl fmt::Display for Aggregation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Count => "count",
            Self::Max => "max",
            Self::Min => "min",
            Self::Sum => "sum",
        })
    }
}
