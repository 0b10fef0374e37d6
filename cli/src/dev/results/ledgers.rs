//! Ledgers: where every record went, of each output over all of its tasks.
use serde::Serialize;
use tidewheel_engine::Ledger;
use tidewheel_planner::plan::{Output, Plan, Relation, RowNode, StepKind, Window};
use tidewheel_worker::Status;

use crate::dev::pipelines::Pipelines;

/// The ledger of an output.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OutputLedger {
    /// `<namespace>/<name>` of the Pipeline.
    pub(crate) pipeline: String,
    /// The output.
    pub(crate) output: String,
    /// Whether all that came in has gone somewhere.
    pub(crate) balanced: bool,
    /// Of the sources' records; of windows over windows, of the rows of those.
    pub(crate) stage1: StageLedger,
    /// Of the rows that went into windows; absent for outputs without windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stage2: Option<StageLedger>,
}

/// The ledger of one stage: every fate, also those that nothing had.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StageLedger {
    /// What came in.
    pub(crate) read: u64,
    /// What reached the table, or, in stage 1 of windows, a window.
    pub(crate) written: u64,
    /// Left out by a WHERE or HAVING, by step.
    pub(crate) filtered: std::collections::BTreeMap<String, u64>,
    /// Records without a value in an existing topic: their keys were deleted.
    pub(crate) tombstone: u64,
    /// Left out by a deduplication.
    pub(crate) duplicate: u64,
    /// Too late, and dropped.
    pub(crate) late: u64,
    /// Belongs to a window that an earlier generation has written.
    pub(crate) earlier_generation: u64,
    /// Sent again for somebody else.
    pub(crate) skipped: u64,
    /// Deleted before it was read, as somebody has acknowledged.
    pub(crate) lost: u64,
    /// Became dead letters, by reason.
    pub(crate) dead_lettered: std::collections::BTreeMap<String, u64>,
    /// In windows that are still open.
    pub(crate) in_flight: u64,
}

impl StageLedger {
    fn new(ledger: &Ledger, in_flight: u64) -> Self {
        Self {
            read: ledger.read,
            written: ledger.written,
            filtered: ledger.filtered.clone(),
            tombstone: ledger.tombstone,
            duplicate: ledger.duplicate,
            late: ledger.late,
            earlier_generation: ledger.earlier_generation,
            skipped: ledger.skipped,
            lost: ledger.lost,
            dead_lettered: ledger.dead_lettered.clone(),
            in_flight,
        }
    }

    /// What is neither settled nor in flight; negative where more was settled than came in.
    pub(crate) fn missing(&self) -> i128 {
        let named: u64 = self
            .filtered
            .values()
            .chain(self.dead_lettered.values())
            .sum();
        let left_out = self.tombstone
            + self.duplicate
            + self.late
            + self.earlier_generation
            + self.skipped
            + self.lost;
        let settled = self.written + named + left_out;
        i128::from(self.read) - i128::from(settled) - i128::from(self.in_flight)
    }
}

impl OutputLedger {
    /// What is wrong with it, in numbers.
    pub(crate) fn explain(&self) -> String {
        let missing = |stage: &StageLedger| {
            format!(
                "{} of {} are not accounted for",
                stage.missing(),
                stage.read
            )
        };
        let mut text = format!("stage 1: {}", missing(&self.stage1));
        if let Some(stage2) = &self.stage2 {
            text.push_str(&format!(
                "; stage 2: {}; {} went into windows, {} arrived",
                missing(stage2),
                self.stage1.written,
                stage2.read
            ));
        }
        text
    }
}

/// The ledgers of all outputs, while the tasks still run.
pub(crate) fn ledgers(pipelines: &Pipelines) -> Vec<OutputLedger> {
    let of_pipeline = |plan: &Plan, status: &Status| {
        plan.outputs
            .iter()
            .map(|output| output_ledger(plan, output, status))
            .collect::<Vec<_>>()
    };
    pipelines
        .iter()
        .flat_map(|pipeline| of_pipeline(&pipeline.plan, &pipeline.control.status()))
        .collect()
}

fn output_ledger(plan: &Plan, output: &Output, status: &Status) -> OutputLedger {
    let (stage1, stage2, agree) = match plan.aggregate_behind(output.from) {
        None => (
            StageLedger::new(&sum(status, 1, |task| task.ledgers.get(&output.name)), 0),
            None,
            true,
        ),
        Some(step) => {
            let name = &plan.steps[step].name;
            // Windows over windows are fed by tasks of stage 2.
            let feeds_in = if plan.fed_by(step).is_some() { 2 } else { 1 };
            let first = sum(status, feeds_in, |task| task.step_ledgers.get(name));
            let first = StageLedger::new(&first, 0);
            let open: i64 = status
                .iter()
                .filter(|((input, _), task)| task.stage == 2 && input == name)
                .flat_map(|(_, task)| &task.open_windows)
                .map(|window| window.contributions)
                .sum();
            let second = StageLedger::new(
                &sum(status, 2, |task| task.ledgers.get(&output.name)),
                open.unsigned_abs(),
            );
            // A record that becomes several rows goes into windows several times, and so does each of its rows where they overlap.
            let of_events = plan.fed_by(step).is_none();
            let is_multiplied = has_overlapping_windows(plan, step)
                || of_events && multiplies(plan, Relation::Step(step));
            let agree =
                first.written == second.read || is_multiplied && first.written <= second.read;
            (first, Some(second), agree)
        }
    };
    let balanced =
        agree && stage1.missing() == 0 && stage2.as_ref().is_none_or(|stage| stage.missing() == 0);
    OutputLedger {
        pipeline: plan.full_name(),
        output: output.name.clone(),
        balanced,
        stage1,
        stage2,
    }
}

fn has_overlapping_windows(plan: &Plan, step: usize) -> bool {
    match &plan.steps[step].kind {
        StepKind::Aggregate(aggregate) => matches!(aggregate.window, Window::Hopping { .. }),
        _ => false,
    }
}

fn sum<'a>(
    status: &'a Status,
    stage: u8,
    of: impl Fn(&'a tidewheel_worker::TaskStatus) -> Option<&'a Ledger>,
) -> Ledger {
    let mut total = Ledger::default();
    status
        .values()
        .filter(|task| task.stage == stage)
        .filter_map(of)
        .for_each(|ledger| total.add(ledger));
    total
}

/// Whether one record of a source may become several rows of a relation.
fn multiplies(plan: &Plan, relation: Relation) -> bool {
    let Relation::Step(step) = relation else {
        return false;
    };
    let (inputs, node): (&[Relation], Option<&RowNode>) = match &plan.steps[step].kind {
        StepKind::Rows(program) => (&program.inputs, Some(&program.root)),
        StepKind::Deduplicate(deduplicate) => (std::slice::from_ref(&deduplicate.from), None),
        StepKind::Aggregate(aggregate) => {
            (&aggregate.argument.inputs, Some(&aggregate.argument.root))
        }
    };
    node.is_some_and(node_multiplies) || inputs.iter().any(|&input| multiplies(plan, input))
}

fn node_multiplies(node: &RowNode) -> bool {
    match node {
        RowNode::Input(_) | RowNode::Empty(_) => false,
        RowNode::Project { input, .. } | RowNode::Filter { input, .. } => node_multiplies(input),
        RowNode::Union { .. } | RowNode::Unnest { .. } => true,
    }
}
