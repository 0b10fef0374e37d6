//! Good resources become plans.
use std::collections::BTreeSet;

use tidewheel_planner::plan::{RowNode, StepKind};

use crate::cases::{cases, judged, plan_of};

#[test]
fn good_resources_become_plans() {
    for (name, text) in cases("good") {
        let (plans, problems) = judged(&name, &text);
        assert!(
            problems.is_empty(),
            "{name}:\n{}",
            tidewheel_planner::problem::render(&problems)
        );
        let text: Vec<String> = plans.iter().map(ToString::to_string).collect();
        insta::with_settings!({prepend_module_to_snapshot => false, snapshot_path => "good-plans"}, {
            insta::assert_snapshot!(name, text.join("\n\n"));
        });
    }
}

#[test]
fn every_row_program_yields_the_schema_it_declares() {
    for (name, text) in cases("good") {
        for plan in judged(&name, &text).0 {
            for step in &plan.steps {
                let programs = match &step.kind {
                    StepKind::Rows(program) => vec![program],
                    StepKind::Aggregate(aggregate) => vec![&aggregate.argument, &aggregate.result],
                    StepKind::Deduplicate(_) => vec![],
                };
                for program in programs {
                    if let RowNode::Project { schema, exprs, .. } = &program.root {
                        assert_eq!(schema, &program.schema, "{name}: {}", step.name);
                        assert_eq!(exprs.len(), schema.fields().len());
                    }
                }
            }
        }
    }
}

#[test]
fn steps_follow_what_they_read_whatever_their_order_in_the_spec() {
    let plan = plan_of(
        "{name: c, sql: SELECT metric FROM b}
         {name: a, sql: SELECT metric FROM clicks}
         {name: b, sql: SELECT metric FROM a}
         {name: d, sql: SELECT metric FROM c}",
    );
    let names: Vec<&str> = plan.steps.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
}

#[test]
fn state_columns_have_names_of_their_own() {
    for (name, text) in cases("good") {
        for plan in judged(&name, &text).0 {
            for step in &plan.steps {
                let StepKind::Aggregate(aggregate) = &step.kind else {
                    continue;
                };
                for schema in [
                    &aggregate.partial_schema,
                    &aggregate.merged_schema,
                    &aggregate.call_schema,
                ] {
                    let names: BTreeSet<&String> =
                        schema.fields().iter().map(|f| f.name()).collect();
                    assert_eq!(names.len(), schema.fields().len(), "{name}: {}", step.name);
                }
            }
        }
    }
}
