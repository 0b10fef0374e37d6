//! Input that nobody would write in good faith.
use tidewheel_planner::problem::Code;

use crate::cases::{judged, pipeline};

fn first_code(sql: &str) -> Code {
    judged(
        "hostile",
        &pipeline(&format!("{{name: s, sql: \"{sql}\"}}")),
    )
    .1[0]
        .code
}

#[test]
fn nesting_without_end_is_an_error_and_no_crash() {
    let sql = format!(
        "SELECT {}1{} AS x FROM clicks",
        "(".repeat(3_000),
        ")".repeat(3_000)
    );
    assert_eq!(first_code(&sql), Code::SqlSyntax);
}

#[test]
fn a_chain_of_operators_is_planned_or_refused_and_no_crash() {
    let chain = |operators: usize| {
        format!(
            "SELECT metric{} AS x FROM clicks",
            " + items".repeat(operators)
        )
    };
    let (plans, problems) = judged(
        "hostile",
        &pipeline(&format!("{{name: s, sql: \"{}\"}}", chain(250))),
    );
    assert!(
        problems.is_empty() && plans.len() == 1,
        "{}",
        tidewheel_planner::problem::render(&problems)
    );
    for operators in [500, 1_500] {
        assert_eq!(first_code(&chain(operators)), Code::RefusedSql);
    }
}

#[test]
fn yaml_that_grows_by_aliases_is_an_error() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!(
            "a{level}: &a{level} [{}]\n",
            before.trim_end_matches(", ")
        ));
    }
    let problem = &judged("bomb", &text).1[0];
    assert_eq!(problem.code, Code::YamlSyntax);
    let place = problem.place.as_ref().unwrap();
    assert_eq!((place.file.as_deref(), place.line), (Some("bomb.yaml"), 12));
}

#[test]
fn names_that_are_not_ascii_have_their_caret_in_place() {
    let (_, problems) = judged(
        "pipeline",
        &pipeline("{name: s, sql: \"SELECT 'größer' AS grösse, farbe FROM clicks\"}"),
    );
    let place = problems[0].place.as_ref().unwrap();
    let found: String = place
        .text
        .chars()
        .skip(place.column - 1)
        .take(place.length)
        .collect();
    assert_eq!(found, "farbe");
}
