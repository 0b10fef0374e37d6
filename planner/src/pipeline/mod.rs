//! Pipelines: names resolved, steps compiled in order, outputs given their tables.
mod outputs;

use std::collections::{BTreeMap, BTreeSet};

use tidewheel_crds::PipelineSpec;
use tidewheel_crds::pipeline::{Step as StepSpec, StepKind as SpecKind};

use crate::graph::{GraphNode, order};
use crate::nearest::suggestion;
use crate::plan::{Output, Plan, Relation, Source, Step};
use crate::problem::{Code, Problem};
use crate::relation::{Facts, Lineage};
use crate::resource::{Resource, ResourceId, ResourceSet, Subject, member};
use crate::source;
use crate::sql::SqlProblem;
use crate::sql::keyword::Suspects;
use crate::sql::parse::parse;
use crate::steps::compile::{Compiled, compile};
use crate::steps::read::{ReadStep, reads, unknown_reads};

/// Plans one pipeline, or says all that is wrong with it.
pub(crate) fn plan(
    pipeline: &Resource<PipelineSpec>,
    set: &ResourceSet,
) -> Result<Plan, Vec<Problem>> {
    let mut planning = Planning::new(pipeline, set);
    planning.sources();
    planning.read_steps();
    planning.compile_steps();
    planning.suspect_keywords();
    planning.outputs();
    planning.find_unread();
    planning.finish()
}

struct Planning<'a> {
    pipeline: &'a Resource<PipelineSpec>,
    set: &'a ResourceSet,
    subject: Subject,
    sources: Vec<Source>,
    /// What the sources and the steps of the plan are, by name.
    facts: BTreeMap<String, Facts>,
    /// Names of what is there but broken: who reads it is skipped without a word.
    broken: BTreeSet<String>,
    nodes: Vec<GraphNode>,
    steps: Vec<Option<ReadStep<'a>>>,
    /// Whether some step does not say what it reads.
    unclear: bool,
    /// Problems, by index, that columns may have caused whose names are keywords.
    suspects: Vec<(usize, Suspects)>,
    planned: Vec<Step>,
    outputs: Vec<Output>,
    problems: Vec<Problem>,
}

impl<'a> Planning<'a> {
    fn new(pipeline: &'a Resource<PipelineSpec>, set: &'a ResourceSet) -> Self {
        Self {
            pipeline,
            set,
            subject: pipeline.subject(),
            sources: Vec::new(),
            facts: BTreeMap::new(),
            broken: BTreeSet::new(),
            nodes: Vec::new(),
            steps: Vec::new(),
            unclear: false,
            suspects: Vec::new(),
            planned: Vec::new(),
            outputs: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn sources(&mut self) {
        let namespace = &self.pipeline.id.namespace;
        for (index, reference) in self.pipeline.spec.sources.iter().enumerate() {
            let (path, name) = (member!["spec", "sources", index, "name"], &reference.name);
            let subject = self.subject.part("source", name);
            if self.nodes.iter().any(|node| node.name == *name) {
                let message = format!("the source `{name}` is listed twice");
                self.problems.push(
                    subject
                        .error(&path, Code::DuplicateName, message)
                        .help("remove one of them"),
                );
                continue;
            }
            self.nodes.push(GraphNode {
                name: name.clone(),
                reads: Vec::new(),
            });
            let planned = match self.set.event_source(namespace, name) {
                Some(found) => source::plan(found, reference).ok(),
                None => {
                    if !self.set.is_broken("EventSource", namespace, name) {
                        let message = format!(
                            "there is no EventSource `{name}` in the namespace `{namespace}`"
                        );
                        let known = self.set.event_source_ids();
                        let help = self.meant(name, "EventSource", "reads", &known);
                        self.problems.push(
                            subject
                                .error(&path, Code::UnknownSource, message)
                                .help(help),
                        );
                    }
                    None
                }
            };
            match planned {
                Some((source, fingerprint)) => self.add_source(source, fingerprint),
                None => {
                    self.broken.insert(name.clone());
                }
            }
        }
    }

    /// Where else a resource of that name is, or which names are near.
    fn meant(&self, name: &str, kind: &str, verb: &str, known: &[&ResourceId]) -> String {
        let namespace = &self.pipeline.id.namespace;
        if let Some(other) = known.iter().find(|id| id.name == name) {
            let namespace = &other.namespace;
            return format!(
                "it is in the namespace `{namespace}`, and a pipeline {verb} those of its own: let both have one `metadata.namespace`"
            );
        }
        let here = known.iter().filter(|id| id.namespace == *namespace);
        let here: Vec<&str> = here.map(|id| id.name.as_str()).collect();
        suggestion(name, &format!("{kind}s"), here)
    }

    fn add_source(&mut self, source: Source, fingerprint: String) {
        let index = self.sources.len();
        let schema = source.events.arrow_schema();
        let lineage = (0..schema.fields().len())
            .map(|column| Lineage::from([(index, column)]))
            .collect();
        let facts = Facts {
            name: source.name.clone(),
            relation: Relation::Source(index),
            schema,
            lineage,
            sources: BTreeSet::from([index]),
            windowed: None,
            fingerprint,
        };
        self.facts.insert(source.name.clone(), facts);
        self.sources.push(source);
    }

    /// Reads the steps, as far as to know who reads whom.
    fn read_steps(&mut self) {
        let steps: Vec<_> = self.pipeline.spec.steps.iter().enumerate().collect();
        for (index, step) in steps {
            let read = self.read_step(index, step);
            self.steps.push(read);
        }
        let names: Vec<String> = self.nodes.iter().map(|node| node.name.clone()).collect();
        let unknown: Vec<Problem> = self
            .steps
            .iter()
            .flatten()
            .flat_map(|step| unknown_reads(step, &names))
            .collect();
        for step in self.steps.iter().flatten() {
            if reads(step).iter().any(|(name, _)| !names.contains(name)) {
                self.broken.insert(step.spec.name.clone());
            }
        }
        // Who reads nothing that is there does not tell what is read.
        let reads_nothing = |step: &ReadStep<'_>| reads(step).is_empty();
        self.unclear |= !unknown.is_empty() || self.steps.iter().flatten().any(reads_nothing);
        let unknown_names = self.steps.iter().flatten().flat_map(|step| {
            let unknown = reads(step).into_iter().filter(|(n, _)| !names.contains(n));
            unknown.map(move |(name, _)| (step, name))
        });
        for (at, (step, name)) in unknown_names.enumerate() {
            if let Some(parsed) = &step.parsed {
                let suspects = Suspects::of_relation(parsed, &name);
                self.suspects.push((self.problems.len() + at, suspects));
            }
        }
        self.problems.extend(unknown);
    }

    /// Now that the columns of sources and steps are known.
    fn suspect_keywords(&mut self) {
        for (index, suspects) in std::mem::take(&mut self.suspects) {
            let read = self
                .facts
                .values()
                .filter(|facts| suspects.names(&facts.name));
            let help = suspects.help(read.map(|facts| facts.schema.as_ref()));
            if let (Some(help), Some(problem)) = (help, self.problems.get_mut(index)) {
                problem.help = Some(help);
            }
        }
    }

    fn read_step(&mut self, index: usize, spec: &'a StepSpec) -> Option<ReadStep<'a>> {
        let (path, subject) = (
            member!["spec", "steps", index],
            self.subject.part("step", &spec.name),
        );
        if self.nodes.iter().any(|node| node.name == spec.name) {
            let mut name = path;
            name.push("name".into());
            let message = format!(
                "`{}` is already the name of a source or step of this pipeline",
                spec.name
            );
            self.problems.push(
                subject
                    .error(&name, Code::DuplicateName, message)
                    .help("give the step a name of its own"),
            );
            return None;
        }
        let mut node = GraphNode {
            name: spec.name.clone(),
            reads: Vec::new(),
        };
        let kind = spec.kind();
        let read = kind.map(|kind| ReadStep {
            spec,
            kind,
            parsed: None,
            path,
            subject,
        });
        let read = read.and_then(|mut read| {
            let sql = match kind? {
                SpecKind::Sql(sql) => Some(sql),
                SpecKind::Aggregate(aggregate) => Some(aggregate.sql.as_str()),
                SpecKind::Deduplicate(_) => None,
            };
            match sql.map(parse).transpose() {
                Ok(parsed) => read.parsed = parsed,
                Err(problem) => {
                    let suspects = Suspects::of_unparsed(sql.unwrap_or_default(), &problem);
                    self.suspects.push((self.problems.len(), suspects));
                    self.problems.push(read.sql_problem(problem));
                    return None;
                }
            }
            Some(read)
        });
        match &read {
            Some(read) => node.reads = reads(read).into_iter().map(|(name, _)| name).collect(),
            None => {
                self.unclear = true;
                self.broken.insert(spec.name.clone());
            }
        }
        self.nodes.push(node);
        read
    }

    fn compile_steps(&mut self) {
        let (order, cycles) = order(&self.nodes);
        for cycle in cycles {
            self.report_cycle(&cycle);
        }
        for node in order {
            let name = self.nodes[node].name.clone();
            let position = self
                .steps
                .iter()
                .position(|s| s.as_ref().is_some_and(|s| s.spec.name == name));
            let Some(step) = position.and_then(|position| self.steps[position].take()) else {
                continue;
            };
            let spoilt = self.nodes[node]
                .reads
                .iter()
                .any(|read| self.broken.contains(read));
            if spoilt || self.broken.contains(&name) {
                self.broken.insert(name);
                continue;
            }
            let inputs: Vec<&Facts> = self.nodes[node]
                .reads
                .iter()
                .filter_map(|read| self.facts.get(read))
                .collect();
            match compile(&step, &inputs, &self.sources, self.planned.len()) {
                Ok(Compiled { step, facts }) => {
                    self.planned.push(step);
                    self.facts.insert(name, facts);
                }
                Err(problems) => {
                    self.problems.extend(problems);
                    self.broken.insert(name);
                }
            }
        }
    }

    fn report_cycle(&mut self, cycle: &[usize]) {
        let mut names: Vec<&str> = cycle
            .iter()
            .map(|node| self.nodes[*node].name.as_str())
            .collect();
        // Told from the step that comes first, whatever the walk began with.
        let first = cycle
            .iter()
            .enumerate()
            .min_by_key(|(_, node)| **node)
            .map_or(0, |(at, _)| at);
        names.rotate_left(first);
        let circle = names
            .iter()
            .chain(names.first())
            .map(|n| format!("`{n}`"))
            .collect::<Vec<_>>()
            .join(" reads ");
        let step = self
            .steps
            .iter()
            .flatten()
            .find(|step| step.spec.name == names[0]);
        if let Some(step) = step {
            let span = reads(step)
                .into_iter()
                .find(|(name, _)| names.get(1).unwrap_or(&names[0]) == name)
                .and_then(|(_, s)| s);
            let message = format!("steps read each other in a circle: {circle}");
            let problem = match step.parsed {
                Some(_) => step.sql_problem(SqlProblem::new(Code::Cycle, message).at(span)),
                None => step.subject.error(&step.path, Code::Cycle, message),
            };
            self.problems
                .push(problem.help("let one of them read a source or an earlier step instead"));
        }
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        self.broken.extend(names);
    }

    fn finish(self) -> Result<Plan, Vec<Problem>> {
        // What is broken without a word here was reported where it is defined.
        if !self.problems.is_empty()
            || !self.broken.is_empty()
            || self.outputs.len() != self.pipeline.spec.outputs.len()
        {
            return Err(self.problems);
        }
        Ok(Plan {
            namespace: self.pipeline.id.namespace.clone(),
            name: self.pipeline.id.name.clone(),
            revision: self.pipeline.revision,
            sources: self.sources,
            steps: self.planned,
            outputs: self.outputs,
            dead_letter_retention_ms: self.pipeline.spec.errors.dead_letter.retention.as_millis(),
        })
    }
}
