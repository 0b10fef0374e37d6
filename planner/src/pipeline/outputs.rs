//! The ends of a pipeline: what each output writes where, and what reaches none.
use std::collections::BTreeSet;

use crate::graph::reachable;
use crate::nearest::suggestion;
use crate::output;
use crate::pipeline::Planning;
use crate::plan::Output;
use crate::problem::Code;
use crate::relation::Facts;
use crate::resource::{Subject, member};

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
            let (Some((sink, schema)), Some(from), Some(postgres)) = (sink, from, &spec.postgres)
            else {
                continue;
            };
            let name = postgres.table.as_deref().unwrap_or(&spec.name);
            match output::table(
                &from,
                &schema,
                name,
                &subject,
                &member!["spec", "outputs", index, "from"],
            ) {
                Ok(table) => self.outputs.push(Output {
                    name: spec.name.clone(),
                    from: from.relation,
                    sink,
                    table,
                }),
                Err(problem) => self.problems.push(*problem),
            }
        }
    }

    /// `<namespace>/<name>` of an output's Sink, and the schema that holds its tables.
    fn sink(&mut self, index: usize, subject: &Subject) -> Option<(String, String)> {
        let namespace = &self.pipeline.id.namespace;
        let name = &self
            .pipeline
            .spec
            .outputs
            .get(index)?
            .postgres
            .as_ref()?
            .sink;
        let path = member!["spec", "outputs", index, "postgres", "sink"];
        let Some(sink) = self.set.sink(namespace, name) else {
            if !self.set.is_broken("Sink", namespace, name) {
                let message = format!("there is no Sink `{name}` in the namespace `{namespace}`");
                let here = self
                    .set
                    .sinks
                    .iter()
                    .filter(|s| s.id.namespace == *namespace);
                let help = suggestion(
                    name,
                    "Sinks",
                    here.map(|s| s.id.name.as_str()).collect::<Vec<_>>(),
                );
                self.problems
                    .push(subject.error(&path, Code::UnknownSink, message).help(help));
            }
            return None;
        };
        let postgres = sink.spec.postgres.as_ref()?;
        Some((format!("{namespace}/{name}"), postgres.schema.clone()))
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
