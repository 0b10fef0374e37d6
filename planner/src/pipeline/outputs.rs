//! The ends of a pipeline: what each output writes where, and what reaches none.
use std::collections::BTreeSet;

use tidewheel_crds::SinkSpec;
use tidewheel_crds::pipeline::Output as OutputSpec;

use crate::graph::reachable;
use crate::nearest::suggestion;
use crate::output;
use crate::pipeline::Planning;
use crate::plan::{Output, Stage, StepKind, Target};
use crate::problem::{Code, Problem};
use crate::relation::Facts;
use crate::resource::{Resource, Subject, member};

impl Planning<'_> {
    pub(super) fn outputs(&mut self) {
        let mut names = BTreeSet::new();
        for (index, spec) in self.pipeline.spec.outputs.iter().enumerate() {
            let subject = self.subject.part("output", &spec.name);
            if !names.insert(&spec.name) {
                let message = format!("two outputs are named `{}`", spec.name);
                let path = member!["spec", "outputs", index, "name"];
                self.problems.push(
                    subject
                        .error(&path, Code::DuplicateName, message)
                        .help("a name is an output's identity: choose another"),
                );
                continue;
            }
            let sink = self.sink(index, &subject);
            let from = self.output_from(index, &subject).cloned();
            let (Some(sink), Some(from)) = (sink, from) else {
                continue;
            };
            let final_ms = self.final_ms(&from);
            match target(spec, index, &from, final_ms, &sink.spec, &subject) {
                Ok(target) => self.outputs.push(Output {
                    name: spec.name.clone(),
                    from: from.relation,
                    sink: sink.id.full_name(),
                    target,
                }),
                Err(problems) => self.problems.extend(problems),
            }
        }
    }

    /// An output's Sink.
    fn sink(&mut self, index: usize, subject: &Subject) -> Option<Resource<SinkSpec>> {
        let namespace = &self.pipeline.id.namespace;
        let (kind, name) = kind_and_sink(self.pipeline.spec.outputs.get(index)?)?;
        let path = member!["spec", "outputs", index, kind, "sink"];
        let Some(sink) = self.set.sink(namespace, name) else {
            if !self.set.is_broken("Sink", namespace, name) {
                let message = format!("there is no Sink `{name}` in the namespace `{namespace}`");
                let help = self.meant(name, "Sink", "writes to", &self.set.sink_ids());
                self.problems
                    .push(subject.error(&path, Code::UnknownSink, message).help(help));
            }
            return None;
        };
        Some(sink.clone())
    }

    /// How long after its start a window of `from` may still change; 0 of other rows.
    fn final_ms(&self, from: &Facts) -> u64 {
        let windowed = from.windowed.as_ref();
        let mut next = windowed.map(|windowed| windowed.aggregate);
        let (mut final_ms, mut is_outermost) = (0_u64, true);
        while let Some(step) = next.and_then(|step| self.planned.get(step)) {
            if let StepKind::Aggregate(aggregate) = &step.kind {
                // Windows over windows wait for what those may still take.
                let size_ms = aggregate.window.size_ms();
                let own_ms = if is_outermost { size_ms } else { 0 };
                let ms = own_ms.saturating_add(aggregate.late.allowed_ms);
                final_ms = final_ms.saturating_add(ms.unsigned_abs());
            }
            is_outermost = false;
            next = match step.stage {
                Stage::Two(inner) => Some(inner),
                Stage::One => None,
            };
        }
        final_ms
    }

    fn output_from(&mut self, index: usize, subject: &Subject) -> Option<&Facts> {
        let from = &self.pipeline.spec.outputs.get(index)?.from;
        if !self.nodes.iter().any(|node| node.name == *from) {
            let message = format!("there is no source or step `{from}`");
            let names: Vec<&str> = self.nodes.iter().map(|n| n.name.as_str()).collect();
            let path = member!["spec", "outputs", index, "from"];
            let problem = subject.error(&path, Code::UnknownInput, message);
            self.problems
                .push(problem.help(suggestion(from, "sources and steps", names)));
            self.unclear = true;
            return None;
        }
        self.facts.get(from)
    }

    pub(super) fn find_unread(&mut self) {
        // Without outputs, which the schema refuses, everything would be unread.
        if self.unclear || self.pipeline.spec.outputs.is_empty() {
            return;
        }
        let roots = self
            .pipeline
            .spec
            .outputs
            .iter()
            .map(|output| output.from.as_str());
        let read = reachable(&self.nodes, roots);
        let fix = "write an output or a step that reads it, or remove it";
        for (index, step) in self.pipeline.spec.steps.iter().enumerate() {
            if !read.contains(step.name.as_str()) {
                let subject = self.subject.part("step", &step.name);
                let message = format!("the rows of the step `{}` reach no output", step.name);
                let path = member!["spec", "steps", index, "name"];
                self.problems
                    .push(subject.error(&path, Code::UnreadStep, message).help(fix));
            }
        }
        for (index, source) in self.pipeline.spec.sources.iter().enumerate() {
            if !read.contains(source.name.as_str()) {
                let subject = self.subject.part("source", &source.name);
                let message = format!("the events of the source `{}` reach no output", source.name);
                let path = member!["spec", "sources", index, "name"];
                self.problems
                    .push(subject.error(&path, Code::UnreadSource, message).help(fix));
            }
        }
    }
}

/// Of which kind an output is, and the name of its Sink.
fn kind_and_sink(output: &OutputSpec) -> Option<(&'static str, &str)> {
    match (&output.postgres, &output.kafka) {
        (Some(postgres), _) => Some(("postgres", &postgres.sink)),
        (None, Some(kafka)) => Some(("kafka", &kafka.sink)),
        (None, None) => None,
    }
}

/// Where the rows of an output go; or all that is wrong with it.
fn target(
    spec: &OutputSpec,
    index: usize,
    from: &Facts,
    final_ms: u64,
    sink: &SinkSpec,
    subject: &Subject,
) -> Result<Target, Vec<Problem>> {
    match (&spec.postgres, &spec.kafka, &sink.postgres, &sink.kafka) {
        (Some(postgres), _, Some(database), _) => {
            let (named, path) = ((&*spec.name, postgres), member!["spec", "outputs", index]);
            output::table(from, final_ms, &database.schema, named, subject, &path)
                .map(Target::Table)
                .map_err(|problem| vec![*problem])
        }
        (None, Some(kafka), _, Some(_)) => {
            let path = member!["spec", "outputs", index, "kafka"];
            let from_path = member!["spec", "outputs", index, "from"];
            output::topic(from, kafka, subject, &from_path, &path).map(Target::Topic)
        }
        _ => Err(other_kind(spec, index, sink, subject).into_iter().collect()),
    }
}

fn other_kind(
    spec: &OutputSpec,
    index: usize,
    sink: &SinkSpec,
    subject: &Subject,
) -> Option<Problem> {
    let (kind, name) = kind_and_sink(spec)?;
    let of_sink = if sink.kafka.is_some() {
        "kafka"
    } else {
        "postgres"
    };
    let path = member!["spec", "outputs", index, kind, "sink"];
    let message = format!("the Sink `{name}` is of kind `{of_sink}`, the output of kind `{kind}`");
    let help = format!("write `{of_sink}:` in place of `{kind}:`, or name a Sink with `{kind}`");
    let problem = subject.error(&path, Code::OtherSinkKind, message);
    Some(problem.help(help))
}
