-- A file as builds with layout 1 wrote it: three rows of generation 1, progress 3.
CREATE TABLE _tidewheel_tables (
    name TEXT NOT NULL PRIMARY KEY COLLATE NOCASE,
    pipeline TEXT NOT NULL,
    output TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('rows', 'windows'))
) STRICT, WITHOUT ROWID;
CREATE TABLE _tidewheel_columns (
    table_name TEXT NOT NULL COLLATE NOCASE,
    name TEXT NOT NULL COLLATE NOCASE,
    type TEXT NOT NULL,
    key_position INTEGER,
    PRIMARY KEY (table_name, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE _tidewheel_generations (
    pipeline TEXT NOT NULL,
    output TEXT NOT NULL,
    generation INTEGER NOT NULL,
    PRIMARY KEY (pipeline, output)
) STRICT, WITHOUT ROWID;
CREATE TABLE _tidewheel_progress (
    pipeline TEXT NOT NULL,
    output TEXT NOT NULL,
    input TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    watermark_ms INTEGER,
    PRIMARY KEY (pipeline, output, input, partition)
) STRICT, WITHOUT ROWID;
CREATE TABLE "numbers" (
    "n" INTEGER,
    "_generation" INTEGER NOT NULL,
    "_partition" INTEGER NOT NULL,
    "_offset" INTEGER NOT NULL,
    "_ordinal" INTEGER NOT NULL
) STRICT;
INSERT INTO _tidewheel_tables VALUES ('numbers', 'shop/kpis', 'kpi', 'rows');
INSERT INTO _tidewheel_columns VALUES
    ('numbers', 'n', 'bigint', NULL),
    ('numbers', '_generation', 'bigint', NULL),
    ('numbers', '_partition', 'bigint', NULL),
    ('numbers', '_offset', 'bigint', NULL),
    ('numbers', '_ordinal', 'bigint', NULL);
INSERT INTO _tidewheel_generations VALUES ('shop/kpis', 'kpi', 1);
INSERT INTO _tidewheel_progress VALUES ('shop/kpis', 'kpi', 'clicks', 0, 3, 30);
INSERT INTO numbers VALUES (0, 1, 0, 0, 0), (1, 1, 0, 1, 0), (2, 1, 0, 2, 0);
PRAGMA application_id = 1413764940;
PRAGMA user_version = 1;
