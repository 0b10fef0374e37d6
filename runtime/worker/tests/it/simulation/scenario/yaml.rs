//! A pipeline as users would write it.
use super::{FUTURE_MS, REFUSED_FROM, Scenario, Shape, Version, WITHIN_MS};
use crate::fixture::{TABLES, event_source};

const BUS: &str = "apiVersion: tidewheel.dev/v1alpha1
kind: Sink
metadata: {name: bus, namespace: shop}
spec: {kafka: {}}
---
";

impl Shape {
    fn yaml(&self) -> String {
        let (size_s, every_s) = (self.size_ms / 1_000, self.every_ms / 1_000);
        let window = if self.is_session {
            format!("session: {{gap: {size_s}s}}")
        } else if every_s == size_s {
            format!("tumbling: {size_s}s")
        } else {
            format!("hopping: {{size: {size_s}s, every: {every_s}s}}")
        };
        format!(
            "window: {{{window}}}, late: {{allowed: {}s, policy: {:?}}}",
            self.allowed_ms / 1_000,
            self.policy
        )
    }
}

impl Scenario {
    /// The name of the relation that the aggregate steps and the row output read.
    fn once(&self) -> &'static str {
        match (self.deduplicates, self.unnests) {
            (true, _) => "once",
            (false, true) => "exploded",
            (false, false) => "parsed",
        }
    }

    /// The pipeline in one of its versions.
    pub(crate) fn yaml(&self, version: usize) -> String {
        let age = if self.ages {
            format!(", generation: {}", version + 1)
        } else {
            String::new()
        };
        let start = if self.latest { "Latest" } else { "Earliest" };
        let list = |name: &&str| format!("{{name: {name}, start: {start}}}");
        let sources: Vec<String> = self.sources().iter().map(list).collect();
        let mut totals = "";
        if self.totals.is_some() {
            totals = "    - {name: tots, from: tot, postgres: {sink: tables}}\n";
        }
        let mut over = String::new();
        if let Some(chain) = &self.chain {
            over.push_str("    - {name: pers, from: per, postgres: {sink: tables}}\n");
            if chain.span.is_some() {
                over.push_str("    - {name: spans, from: span, postgres: {sink: tables}}\n");
            }
        }
        let pipeline = format!(
            "apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {{name: kpis, namespace: shop{age}}}
spec:
  sources: [{}]
  steps:
{}{}  outputs:
    - {{name: rows, from: {}, postgres: {{sink: tables}}}}
    - {{name: wins, from: win, postgres: {{sink: tables}}}}
    - {{name: afters, from: after, postgres: {{sink: tables}}}}
{totals}    - {{name: sent, from: {}, kafka: {{sink: bus, topic: sent, partitions: 2, key: [id]}}}}
    - {{name: told, from: win, kafka: {{sink: bus, topic: told, partitions: 3}}}}
{over}",
            sources.join(", "),
            self.row_steps(self.versions[version]),
            self.window_steps(self.versions[version]) + &self.chain_steps(version),
            self.once(),
            self.once(),
        );
        let event_time = format!(
            "maxOutOfOrder: {}s, maxFuture: {}s, idleAfter: {}s",
            self.versions[version].out_of_order_ms / 1_000,
            FUTURE_MS / 1_000,
            self.idle_after_s
        );
        let mut text = format!("{TABLES}{BUS}");
        for (name, &partitions) in self.sources().iter().zip(&self.partitions) {
            text.push_str(&event_source(name, partitions, &event_time));
        }
        text + &pipeline
    }

    fn row_steps(&self, version: Version) -> String {
        let Version {
            factor,
            skipped,
            formula,
            ..
        } = version;
        let formula = &self.formulas[formula];
        let left_out = self.left_out.as_ref();
        let left_out = left_out.map_or_else(String::new, |is| format!(" AND {is} IS NOT TRUE"));
        let select = |n: &str, source: &str, condition: &str, refused_from: f64| {
            let refused = mark(&format!("kind IN ('a', 'b') AND x > {refused_from:.1}"));
            format!(
                "SELECT id, ts, kind, {n} AS n, x, CAST(raw AS BIGINT) AS v, 10 / d AS q, tags, {formula} AS e, {refused} FROM {source} WHERE {condition}{left_out}"
            )
        };
        let mut parts = Vec::new();
        for source in self.sources() {
            let kept = format!("coalesce(kind, '') <> '{skipped}'");
            parts.push(select(
                &format!("n * {factor}"),
                source,
                &kept,
                REFUSED_FROM,
            ));
            if self.doubles {
                parts.push(select("n + 100", source, "kind = 'b'", REFUSED_FROM + 1.0));
            }
        }
        let mut steps = format!(
            "    - {{name: parsed, sql: \"{}\"}}\n",
            parts.join(" UNION ALL ")
        );
        let mut last = "parsed";
        if self.unnests {
            steps.push_str("    - {name: exploded, sql: \"SELECT id, ts, kind, n, x, v, q, unnest(string_to_array(tags, ',')) AS tags, e, mark FROM parsed\"}\n");
            last = "exploded";
        }
        if self.deduplicates {
            steps.push_str(&format!(
                "    - {{name: once, deduplicate: {{from: {last}, by: [id], within: {}s}}}}\n",
                WITHIN_MS / 1_000
            ));
        }
        steps
    }

    fn window_steps(&self, version: Version) -> String {
        let once = self.once();
        let having = if self.having {
            " HAVING sum(n) > 5"
        } else {
            ""
        };
        let (share, rate) = if self.divides {
            ("20 / (sum(n) - 7)", "60 / (c - 3)")
        } else {
            ("sum(n)", "c")
        };
        let mut steps = format!(
            "    - name: win
      aggregate:
        {}
        sql: |
          SELECT kind, count(*) AS c, sum(n) + {} AS s, min(v) AS lo, max(q) AS hi, avg(x) AS a,
                 first_value(id ORDER BY ts) AS f, last_value(id ORDER BY ts) AS l, {}(e) AS g, {share} AS share, {}
          FROM {once} GROUP BY kind{having}
    - {{name: after, sql: 'SELECT kind, window_start, window_end, c * 2 AS c2, s - 1 AS s1, {rate} AS rate FROM win WHERE c <> 2'}}
",
            version.windows.yaml().replace("}, late", "}\n        late"),
            version.add,
            self.aggregation,
            mark("count(*) % 3 = 2"),
        );
        if let Some(totals) = &self.totals {
            steps.push_str(&format!(
                "    - {{name: tot, aggregate: {{{}, sql: 'SELECT count(*) AS c, sum(n) AS s FROM {once}'}}}}\n",
                totals.yaml()
            ));
        }
        steps
    }

    /// The steps over the windows of `win`.
    fn chain_steps(&self, version: usize) -> String {
        let Some(chain) = &self.chain else {
            return String::new();
        };
        let (from, c, s, failing) = match chain.of_after {
            true => ("after", "c2", "s1", 10),
            false => ("win", "c", "s", 5),
        };
        let quotient = match self.divides {
            true => format!("sum(10 / ({c} - {failing}))"),
            false => format!("sum({c})"),
        };
        let mut steps = format!(
            "    - name: per
      aggregate:
        {}
        sql: |
          SELECT kind, count(*) AS n, max({c}) AS m, sum({s}) AS s, first_value({c}) AS f, last_value({s}) AS l, {quotient} AS q
          FROM {from} WHERE {c} <> 4 GROUP BY kind
",
            chain.per[version].yaml().replace("}, late", "}\n        late"),
        );
        if let Some(span) = &chain.span {
            steps.push_str(&format!(
                "    - {{name: span, aggregate: {{{}, sql: 'SELECT count(*) AS n, sum(n) AS s, max(m) AS m FROM per'}}}}\n",
                span.yaml()
            ));
        }
        steps
    }
}

/// A column that no table takes where `refused` holds. Which rows are refused is the same in every version: whose row it was that was refused
/// cannot be told.
fn mark(refused: &str) -> String {
    format!("CASE WHEN {refused} THEN chr(0) ELSE 'fine' END AS mark")
}
