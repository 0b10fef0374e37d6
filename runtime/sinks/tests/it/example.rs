//! Tables as the planner derives them.
use tidewheel_planner::{check, plan::TableKind};
use tidewheel_sinks::OutputId;

use crate::fixture::{Fixture, on_both, task};

on_both!(the_tables_of_the_example_can_be_created_and_written);

async fn the_tables_of_the_example_can_be_created_and_written(fixture: Fixture) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/web-analytics");
    let (_, plans, problems) = check(&[folder.into()]);
    assert!(problems.is_empty(), "{problems:?}");

    let mut kinds = Vec::new();
    for output in &plans[0].outputs {
        let id = OutputId {
            pipeline: "web/web-analytics".to_owned(),
            output: output.name.clone(),
        };
        let table = output.table().unwrap();
        fixture.create(&id, table).await.unwrap();
        let mut writer = fixture.sink().writer(&id, table, &task(0)).await.unwrap();
        writer.begin_generation(1, Some(0)).await.unwrap();
        assert!(fixture.rows(table).await.is_empty());
        kinds.push((output.name.as_str(), table.kind.clone()));
    }
    let key = vec!["window_start".to_owned(), "method".to_owned()];
    assert_eq!(
        kinds,
        [
            ("clicks_unique", TableKind::Rows),
            ("clicks_hourly", TableKind::Windows { key })
        ]
    );
}
