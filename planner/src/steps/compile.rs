//! One step: from its spec and what is known of its inputs to a step of the plan.
use std::collections::BTreeSet;

use tidewheel_crds::Duration;
use tidewheel_crds::pipeline::{
    Aggregate as AggregateSpec, Deduplicate as DeduplicateSpec, Hopping, LatePolicy as SpecPolicy,
    StepKind as SpecKind, Window as WindowSpec, WindowKind,
};

use crate::fingerprint::digest;
use crate::plan::{
    Aggregate, Deduplicate, Late, LatePolicy, Relation, RowProgram, Source, Stage, Step, StepKind,
    Window,
};
use crate::problem::{Code, Problem};
use crate::relation::{Facts, KeyColumn, Lineage, Windowed, lineage};
use crate::resource::{Path, member};
use crate::sql::SqlProblem;
use crate::sql::lower::Lowered;
use crate::sql::parse::Parsed;
use crate::sql::windowed::{WINDOW_END, WINDOW_START};
use crate::steps::read::ReadStep;
use crate::steps::{aggregate, deduplicate, over_windows, rows};

/// A step of the plan, and what those that read it need to know.
pub(crate) struct Compiled {
    pub(crate) step: Step,
    pub(crate) facts: Facts,
}

/// Compiles a step that will have `index` in the plan.
pub(crate) fn compile(
    step: &ReadStep<'_>,
    inputs: &[&Facts],
    sources: &[Source],
    index: usize,
) -> Result<Compiled, Vec<Problem>> {
    match (step.kind, &step.parsed) {
        (SpecKind::Sql(_), Some(parsed)) => rows_step(step, parsed, inputs, index),
        (SpecKind::Aggregate(spec), Some(parsed)) => {
            aggregate_step(step, spec, parsed, inputs, sources, index)
        }
        (SpecKind::Deduplicate(spec), _) => deduplicate_step(step, spec, inputs, sources, index),
        // Without a parsed query there is nothing to compile; it was reported.
        _ => Err(Vec::new()),
    }
}

fn rows_step(
    step: &ReadStep<'_>,
    parsed: &Parsed,
    inputs: &[&Facts],
    index: usize,
) -> Result<Compiled, Vec<Problem>> {
    let windowed = inputs
        .iter()
        .find_map(|facts| facts.windowed.as_ref().map(|windowed| (facts, windowed)));
    let relations: Vec<_> = inputs.iter().map(|facts| facts.readable()).collect();
    let report = |problems: Vec<_>| {
        problems
            .into_iter()
            .map(|p| step.sql_problem(p))
            .collect::<Vec<_>>()
    };
    let compiled = rows::compile(parsed, &relations, windowed.is_some()).map_err(report)?;
    let program = program(compiled.lowered, compiled.schema.clone(), inputs);
    let windowed = windowed.map(|(_, windowed)| Windowed {
        aggregate: windowed.aggregate,
        window: windowed.window,
        policy: windowed.policy,
        key: windowed
            .key
            .iter()
            .map(|column| {
                let is = |origins: &Option<Vec<_>>| {
                    let origin: Option<&crate::sql::trace::Origin> =
                        origins.as_ref().and_then(|o| o.first());
                    origin.is_some_and(|o| Some(o.column) == column.index)
                };
                KeyColumn {
                    name: column.name.clone(),
                    index: compiled.origins.iter().position(is),
                }
            })
            .collect(),
    });
    let facts = Facts {
        name: step.spec.name.clone(),
        relation: Relation::Step(index),
        schema: compiled.schema.clone(),
        lineage: compiled
            .origins
            .iter()
            .map(|o| lineage(o.as_deref(), inputs))
            .collect(),
        sources: sources_of(inputs),
        fingerprint: fingerprint(
            "rows",
            &compiled.canonical,
            &compiled.schema,
            &program.inputs,
            inputs,
        ),
        windowed,
    };
    let stage = facts
        .windowed
        .as_ref()
        .map_or(Stage::One, |windowed| Stage::Two(windowed.aggregate));
    Ok(finish(step, stage, StepKind::Rows(program), facts))
}

fn aggregate_step(
    step: &ReadStep<'_>,
    spec: &AggregateSpec,
    parsed: &Parsed,
    inputs: &[&Facts],
    sources: &[Source],
    index: usize,
) -> Result<Compiled, Vec<Problem>> {
    let mut problems = Vec::new();
    let renamed: Vec<Facts> = inputs
        .iter()
        .map(|facts| over_windows::input(facts))
        .collect();
    let inputs: &[&Facts] = &renamed.iter().collect::<Vec<_>>();
    let inner = inputs
        .iter()
        .find_map(|facts| facts.windowed.as_ref().map(|windowed| (*facts, windowed)));
    let window = window(step, &spec.window)
        .map_err(|problem| problems.extend(problem.map(|problem| *problem)));
    if let Some((input, windowed)) = inner {
        problems.extend(over_windows::refusals(step, input, windowed, window.ok()));
    }
    let is_session = matches!(window, Ok(Window::Session { .. }));
    if is_session && spec.late.policy == SpecPolicy::Amend {
        let mut path = step.path.clone();
        path.extend(member!["aggregate", "late", "policy"]);
        let message = "a session is written once, when it is final, and never amended";
        let problem = step.subject.error(&path, Code::InvalidWindow, message);
        problems.push(problem.help("write `late: {policy: DeadLetter}`, or `Drop`"));
    }
    let compiled = aggregate::compile(
        parsed,
        &inputs.iter().map(|f| f.readable()).collect::<Vec<_>>(),
        is_session,
    );
    let (window, compiled) = match (window, compiled) {
        (Ok(window), Ok(compiled)) if problems.is_empty() => (window, compiled),
        (_, Ok(_)) => return Err(problems),
        (_, Err(found)) => {
            problems.extend(found.into_iter().map(|p| step.sql_problem(p)));
            return Err(problems);
        }
    };
    if let (true, Some((input, _))) = (compiled.argument_sees_window, inner) {
        return Err(vec![over_windows::two_bounds(step, input)]);
    }
    if compiled.argument_sees_window && !matches!(window, Window::Tumbling { .. }) {
        return Err(vec![step.sql_problem(computes_too_early(window, parsed))]);
    }
    let group_columns = compiled.group_origins.len();
    let late = Late {
        allowed_ms: i64::try_from(spec.late.allowed.as_millis()).unwrap_or(i64::MAX),
        policy: match spec.late.policy {
            SpecPolicy::Amend => LatePolicy::Amend,
            SpecPolicy::DeadLetter => LatePolicy::DeadLetter,
            SpecPolicy::Drop => LatePolicy::Drop,
        },
    };
    let groups: Vec<Lineage> = compiled
        .group_origins
        .iter()
        .map(|o| lineage(o.as_deref(), inputs))
        .collect();
    let column_lineage = |column: &Option<usize>| {
        column
            .and_then(|c| groups.get(c).cloned())
            .unwrap_or_default()
    };
    let key_column = |name: &str, merged: usize| KeyColumn {
        name: name.to_owned(),
        index: compiled
            .merged_columns
            .iter()
            .position(|column| *column == Some(merged)),
    };
    let mut key = vec![key_column(WINDOW_START, group_columns)];
    key.extend((0..group_columns).map(|g| key_column(compiled.merged_schema.field(g).name(), g)));
    let argument = program(compiled.argument, compiled.argument_schema, inputs);
    let meaning = format!(
        "{}\n{} late {} {}",
        compiled.canonical,
        meaning_of(window),
        late.allowed_ms,
        policy_name(late.policy)
    );
    let facts = Facts {
        name: step.spec.name.clone(),
        relation: Relation::Step(index),
        schema: compiled.schema.clone(),
        lineage: compiled.merged_columns.iter().map(column_lineage).collect(),
        sources: sources_of(inputs),
        windowed: Some(Windowed {
            aggregate: index,
            window,
            policy: late.policy,
            key,
        }),
        fingerprint: fingerprint(
            "aggregate",
            &meaning,
            &compiled.schema,
            &argument.inputs,
            inputs,
        ),
    };
    let result = RowProgram {
        // The merged rows are the only input; the step stands for itself.
        inputs: vec![Relation::Step(index)],
        root: compiled.result.root,
        schema: compiled.schema,
    };
    let partitions = facts
        .sources
        .iter()
        .filter_map(|s| sources.get(*s))
        .map(|s| s.partitions)
        .max()
        .unwrap_or(1);
    let kind = Aggregate {
        argument,
        argument_sees_window: compiled.argument_sees_window,
        group_columns,
        call_schema: compiled.call_schema,
        calls: compiled.calls,
        window,
        late,
        partial_schema: compiled.partial_schema,
        merged_schema: compiled.merged_schema,
        result,
        partitions,
    };
    let stage = inner.map_or(Stage::One, |(_, windowed)| Stage::Two(windowed.aggregate));
    let kind = StepKind::Aggregate(Box::new(kind));
    Ok(finish(step, stage, kind, facts))
}

/// The windows of a step; or what is wrong with them, unless the schema has said so.
fn window(step: &ReadStep<'_>, spec: &WindowSpec) -> Result<Window, Option<Box<Problem>>> {
    let wrong = |member: Path, message: String, help: &str| {
        let mut path = step.path.clone();
        path.extend(member!["aggregate", "window"]);
        path.extend(member);
        let problem = step.subject.error(&path, Code::InvalidWindow, message);
        Some(Box::new(problem.help(help)))
    };
    let of_no_length = || "a window of no length holds nothing".to_owned();
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let (size_ms, every_ms) = match spec.kind() {
        // There are none or too many, or what was wrong was left out.
        None => return Err(None),
        Some(WindowKind::Tumbling(size)) if size == Duration::ZERO => {
            let help = "write a length such as `1m`";
            return Err(wrong(member!["tumbling"], of_no_length(), help));
        }
        Some(WindowKind::Tumbling(size)) => (millis(size), millis(size)),
        Some(WindowKind::Hopping(Hopping { size, .. })) if size == Duration::ZERO => {
            let help = "write a length such as `10m`";
            return Err(wrong(member!["hopping", "size"], of_no_length(), help));
        }
        Some(WindowKind::Hopping(Hopping { size, every }))
            if every == Duration::ZERO || every > size =>
        {
            let message = format!("windows of {size} cannot begin every {every}");
            let help = "write a time above 0s and of at most the size, such as `1m`";
            return Err(wrong(member!["hopping", "every"], message, help));
        }
        Some(WindowKind::Hopping(Hopping { size, every })) => (millis(size), millis(every)),
        Some(WindowKind::Session(gap)) if gap == Duration::ZERO => {
            let message = "without a gap a session never ends".to_owned();
            let help = "write a length such as `30m`";
            return Err(wrong(member!["session", "gap"], message, help));
        }
        Some(WindowKind::Session(gap)) => {
            return Ok(Window::Session {
                gap_ms: millis(gap),
            });
        }
    };
    let window = Window::overlapping(size_ms, every_ms);
    let (pane_ms, panes) = (window.pane_ms(), size_ms / window.pane_ms());
    if panes > Window::MAX_PANES {
        let shown = |ms: i64| Duration::from_millis(ms.unsigned_abs());
        let (size, every, pane) = (shown(size_ms), shown(every_ms), shown(pane_ms));
        let message = format!(
            "windows of {size} every {every} are cut by each other's bounds into {panes} pieces of {pane}, and each is put together from all of them"
        );
        let help = format!(
            "write an `every` that divides {size} at most {} times",
            Window::MAX_PANES
        );
        return Err(wrong(member!["hopping", "every"], message, &help));
    }
    Ok(window)
}

fn computes_too_early(window: Window, parsed: &Parsed) -> SqlProblem {
    let message = match window {
        Window::Session { .. } => {
            "the bounds of a session are not known before all of its events are"
        }
        _ => {
            "where windows overlap an event is in several, and is aggregated once for all of them: their bounds are not known by then"
        }
    };
    let bounds = [WINDOW_END, WINDOW_START];
    let named = bounds.into_iter().find(|name| parsed.word(name).is_some());
    SqlProblem::new(Code::InvalidWindow, message)
        .help("compute with `window_start` and `window_end` outside of aggregate functions, GROUP BY and WHERE: beside them in the SELECT list, in HAVING, or in a `sql` step that follows")
        .about(named.unwrap_or(WINDOW_START))
}

/// What a fingerprint says of windows.
fn meaning_of(window: Window) -> String {
    match window {
        Window::Tumbling { size_ms } => format!("tumbling {size_ms}"),
        Window::Hopping { size_ms, every_ms } => format!("hopping {size_ms} every {every_ms}"),
        Window::Session { gap_ms } => format!("session {gap_ms}"),
    }
}

fn policy_name(policy: LatePolicy) -> &'static str {
    match policy {
        LatePolicy::Amend => "amend",
        LatePolicy::DeadLetter => "dead letter",
        LatePolicy::Drop => "drop",
    }
}

fn deduplicate_step(
    step: &ReadStep<'_>,
    spec: &DeduplicateSpec,
    inputs: &[&Facts],
    sources: &[Source],
    index: usize,
) -> Result<Compiled, Vec<Problem>> {
    let [input] = inputs else {
        return Err(Vec::new());
    };
    if input.windowed.is_some() {
        return Err(vec![windowed_input(
            step,
            input,
            "deduplicate the events, and aggregate what remains",
        )]);
    }
    let by = deduplicate::columns(step, spec, input, sources)?;
    let within_ms = spec.within.as_millis();
    let meaning = format!("{by:?} {within_ms}");
    let relation = input.relation;
    let facts = Facts {
        name: step.spec.name.clone(),
        relation: Relation::Step(index),
        fingerprint: fingerprint("deduplicate", &meaning, &input.schema, &[relation], inputs),
        ..(*input).clone()
    };
    Ok(finish(
        step,
        Stage::One,
        StepKind::Deduplicate(Deduplicate {
            from: relation,
            by,
            within_ms,
        }),
        facts,
    ))
}

fn windowed_input(step: &ReadStep<'_>, input: &Facts, help: &str) -> Problem {
    let mut path = step.path.clone();
    let message = format!(
        "`{}` yields rows of windows, which this step cannot read",
        input.name
    );
    let Some(parsed) = &step.parsed else {
        path.extend(member!["deduplicate", "from"]);
        return step
            .subject
            .error(&path, Code::WindowedInput, message)
            .help(help);
    };
    let span = parsed
        .relations()
        .into_iter()
        .find(|(name, _)| *name == input.name)
        .and_then(|(_, span)| span);
    step.sql_problem(SqlProblem::new(Code::WindowedInput, message).at(span))
        .help(help)
}

fn finish(step: &ReadStep<'_>, stage: Stage, kind: StepKind, facts: Facts) -> Compiled {
    let step = Step {
        name: step.spec.name.clone(),
        schema: facts.schema.clone(),
        stage,
        kind,
        fingerprint: facts.fingerprint.clone(),
    };
    Compiled { step, facts }
}

fn program(lowered: Lowered, schema: arrow::datatypes::SchemaRef, inputs: &[&Facts]) -> RowProgram {
    let relation = |name: &String| inputs.iter().find(|f| f.name == *name).map(|f| f.relation);
    let mut relations: Vec<Relation> = lowered.inputs.iter().filter_map(relation).collect();
    if relations.is_empty() {
        // `WHERE false` reads nothing, but still runs where its inputs do.
        relations.extend(inputs.iter().map(|f| f.relation));
    }
    RowProgram {
        inputs: relations,
        root: lowered.root,
        schema,
    }
}

fn sources_of(inputs: &[&Facts]) -> BTreeSet<usize> {
    inputs
        .iter()
        .flat_map(|facts| facts.sources.iter().copied())
        .collect()
}

fn fingerprint(
    kind: &str,
    meaning: &str,
    schema: &arrow::datatypes::Schema,
    reads: &[Relation],
    inputs: &[&Facts],
) -> String {
    let columns: Vec<String> = schema
        .fields()
        .iter()
        .map(|f| {
            format!(
                "{} {} {} {:?}",
                f.name(),
                f.data_type(),
                f.is_nullable(),
                crate::sql::types::marker(f)
            )
        })
        .collect();
    let columns = columns.join("\n");
    let of = |relation: &Relation| {
        inputs
            .iter()
            .find(|f| f.relation == *relation)
            .map_or("", |f| f.fingerprint.as_str())
    };
    digest(
        [kind, meaning, columns.as_str()]
            .into_iter()
            .chain(reads.iter().map(of)),
    )
}
