//! Aggregate steps over the windows of another one: what they see of its rows, and what they cannot be made of.
//!
//! A row of a window comes at the window's last moment, a millisecond before its end, and once: so it has to be final when it is written.
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};

use crate::explain::duration;
use crate::plan::{LatePolicy, Window};
use crate::problem::{Code, Problem};
use crate::relation::{Facts, Windowed};
use crate::resource::member;
use crate::sql::SqlProblem;
use crate::sql::windowed::{WINDOW_END, WINDOW_START};
use crate::steps::read::ReadStep;

/// What an aggregate step sees of an input. `window_start` and `window_end` are those of its own windows, so of rows of windows it sees the
/// bounds under other names.
pub(crate) fn input(facts: &Facts) -> Facts {
    let mut seen = facts.clone();
    if facts.windowed.is_some() {
        let name = |field: &Field| match field.name().as_str() {
            WINDOW_START | WINDOW_END => format!("_inner_{}", field.name()),
            other => other.to_owned(),
        };
        let fields = facts.schema.fields().iter();
        let fields = fields.map(|field| field.as_ref().clone().with_name(name(field)));
        seen.schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    }
    seen
}

/// Why a step cannot aggregate the windows of `input`. `window`: its own, where they are known.
pub(crate) fn refusals(
    step: &ReadStep<'_>,
    input: &Facts,
    windowed: &Windowed,
    window: Option<Window>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    if windowed.policy == LatePolicy::Amend {
        let message = format!(
            "`{0}` amends its windows (`late.policy: Amend`, which is the default), and windows over windows are made of rows that are final",
            input.name
        );
        let help = format!(
            "write `late: {{policy: DeadLetter}}`, or `Drop`, in the aggregate step behind `{}`: its windows are written once then, `allowed` after their end",
            input.name
        );
        problems.push(about_input(step, input, message).help(help));
    }
    if let Some(reason) = window.and_then(|window| too_short(window, windowed.window)) {
        let mut path = step.path.clone();
        path.extend(member!["aggregate", "window"]);
        let message = format!("{} of `{}`, {}", reason.0, input.name, reason.1);
        let problem = step.subject.error(&path, Code::InvalidWindow, message);
        problems
            .push(problem.help("write windows that are longer than those that they are made of"));
    }
    problems
}

/// Why windows hold no two rows of a group of `inner` that follow each other: what they cannot do with them, and how far these are apart.
fn too_short(window: Window, inner: Window) -> Option<(String, String)> {
    let shown = |ms: i64| duration(u64::try_from(ms).unwrap_or_default());
    let every_ms = match inner {
        Window::Tumbling { .. } | Window::Hopping { .. } => inner.every_ms(),
        // They follow each other at any distance.
        Window::Session { .. } => return None,
    };
    match window {
        Window::Session { gap_ms } if gap_ms <= every_ms => Some((
            format!(
                "sessions with a gap of {} never hold two windows",
                shown(gap_ms)
            ),
            format!("which begin {} apart", shown(every_ms)),
        )),
        Window::Tumbling { size_ms } | Window::Hopping { size_ms, .. } if size_ms < every_ms => {
            Some((
                format!("windows of {} cannot be made of those", shown(size_ms)),
                format!("which begin {} apart", shown(every_ms)),
            ))
        }
        _ => None,
    }
}

/// The step computes with bounds before it aggregates, and there are those of two windows.
pub(crate) fn two_bounds(step: &ReadStep<'_>, input: &Facts) -> Problem {
    let named = [WINDOW_END, WINDOW_START].into_iter().find(|name| {
        let parsed = step.parsed.as_ref();
        parsed.is_some_and(|parsed| parsed.word(name).is_some())
    });
    let name = named.unwrap_or(WINDOW_START);
    let other = if name == WINDOW_END {
        "ended_at"
    } else {
        "started_at"
    };
    let message = format!(
        "`{name}` stands where the rows of `{}` are aggregated, and could be a bound of theirs or of the windows that they go to",
        input.name
    );
    let problem = SqlProblem::new(Code::WindowedInput, message).about(name);
    step.sql_problem(problem).help(format!(
        "give theirs another name in a `sql` step before, `SELECT {name} AS {other}, ... FROM {}`, and aggregate over that",
        input.name
    ))
}

fn about_input(step: &ReadStep<'_>, input: &Facts, message: String) -> Problem {
    let relations = step.parsed.as_ref().map(|parsed| parsed.relations());
    let mut named = relations.into_iter().flatten();
    let span = named.find(|(name, _)| *name == input.name);
    let span = span.and_then(|(_, span)| span);
    step.sql_problem(SqlProblem::new(Code::WindowedInput, message).at(span))
}
