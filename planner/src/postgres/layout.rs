//! The tables of ours in each schema: which output fills which table, how far each task has come, and what it refused last.
//!
//! The layout is durable: version [`VERSION`], kept in [`VERSIONS`].
use super::{literal, quoted};

/// Version of the layout.
pub const VERSION: i32 = 1;

/// Has one row: the version of the layout.
pub const VERSIONS: &str = "_tidewheel_layout";
/// Which output fills which table.
pub const TABLES: &str = "_tidewheel_tables";
/// The generation of each output.
pub const GENERATIONS: &str = "_tidewheel_generations";
/// The progress of each task of an output, moved in the transaction of its rows.
pub const PROGRESS: &str = "_tidewheel_progress";
/// What the newest commit of each task refused.
pub const REFUSALS: &str = "_tidewheel_refusals";

/// A table of ours: its name, its columns, its options, what it is for.
type Definition = (&'static str, &'static str, &'static str, &'static str);

const DEFINITIONS: [Definition; 5] = [
    (
        VERSIONS,
        "version integer NOT NULL",
        "",
        "Version of the layout of the tables _tidewheel_*",
    ),
    (
        TABLES,
        "name text PRIMARY KEY,
    pipeline text NOT NULL,
    output text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('rows', 'windows'))",
        "",
        "Which output of which Tidewheel pipeline fills which table",
    ),
    (
        GENERATIONS,
        "pipeline text NOT NULL,
    output text NOT NULL,
    generation bigint NOT NULL,
    PRIMARY KEY (pipeline, output)",
        "",
        "The generation of each output: writers of an older one are refused",
    ),
    (
        PROGRESS,
        "pipeline text NOT NULL,
    output text NOT NULL,
    input text NOT NULL,
    partition integer NOT NULL,
    generation bigint NOT NULL,
    next_offset bigint NOT NULL,
    watermark_ms bigint,
    PRIMARY KEY (pipeline, output, input, partition)",
        // Each row is replaced many times a second: room beside it keeps that out of the index.
        " WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000)",
        "How far each output has come in each partition of its input, moved in the transaction of its rows. Restore it together with them",
    ),
    (
        REFUSALS,
        "pipeline text NOT NULL,
    output text NOT NULL,
    input text NOT NULL,
    partition integer NOT NULL,
    number bigint NOT NULL,
    origin text NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (pipeline, output, input, partition, number)",
        "",
        "Rows that the newest commit of a task could not store, until they are in the topic of dead letters",
    ),
];

/// The statements that lay out a schema that exists. Idempotent.
#[must_use]
pub fn create(schema: &str) -> Vec<String> {
    let mut statements = Vec::new();
    for (name, columns, options, comment) in DEFINITIONS {
        let table = table(schema, name);
        statements.push(format!(
            "CREATE TABLE IF NOT EXISTS {table} (\n    {columns}\n){options}"
        ));
        statements.push(format!("COMMENT ON TABLE {table} IS {}", literal(comment)));
    }
    let versions = table(schema, VERSIONS);
    statements.push(format!(
        "INSERT INTO {versions} SELECT {VERSION} WHERE NOT EXISTS (SELECT FROM {versions})"
    ));
    statements
}

/// A table of ours as SQL refers to it.
#[must_use]
pub fn table(schema: &str, name: &str) -> String {
    format!("{}.{}", quoted(schema), quoted(name))
}
