//! Generations: which version of a step or output writes now.
use std::collections::BTreeMap;

/// The generations that a plan runs with, as allotted in the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Generations {
    /// Counts the plans of the pipeline; a task never goes on from the state of a later one.
    pub revision: i64,
    /// By aggregate step.
    pub steps: BTreeMap<String, StepGeneration>,
    /// By row output.
    pub outputs: BTreeMap<String, i64>,
}

/// The generation of an aggregate step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepGeneration {
    /// Its number, counted from 1.
    pub number: i64,
    /// Windows that start before this belong to earlier generations, ms; none: all are ours.
    pub cut_ms: Option<i64>,
}
