//! Outputs that would fill one table.
use std::collections::HashMap;

use tidewheel_crds::PipelineSpec;

use crate::problem::{Code, Problem};
use crate::resource::{Resource, ResourceSet, member};

/// Every output whose table another output before it fills, in any pipeline of the set.
pub(crate) fn shared_tables(set: &ResourceSet) -> Vec<Problem> {
    let mut first: HashMap<(String, String), (&Resource<PipelineSpec>, &str)> = HashMap::new();
    let mut problems = Vec::new();
    for pipeline in &set.pipelines {
        for (index, output) in pipeline.spec.outputs.iter().enumerate() {
            let Some(postgres) = &output.postgres else {
                continue;
            };
            let table = postgres.table.as_deref().unwrap_or(&output.name);
            // Sinks with one address and one schema are one place, whatever they are called.
            let namespace = &pipeline.id.namespace;
            let Some(sink) = set
                .sink(namespace, &postgres.sink)
                .and_then(|sink| sink.spec.postgres.as_ref())
            else {
                continue;
            };
            let secret = &sink.connection.secret_ref;
            let place = format!("{namespace}/{}/{}/{}", secret.name, secret.key, sink.schema);
            match first.get(&(place.clone(), table.to_owned())) {
                None => {
                    first.insert((place, table.to_owned()), (pipeline, &output.name));
                }
                Some((other, name)) if *name == output.name && other.id == pipeline.id => {}
                Some((other, name)) => {
                    let message = format!(
                        "the table `{}.{table}` is already filled by the output `{name}` of {}",
                        sink.schema, other.id
                    );
                    let path = match postgres.table {
                        Some(_) => member!["spec", "outputs", index, "postgres", "table"],
                        None => member!["spec", "outputs", index, "name"],
                    };
                    let subject = pipeline.subject().part("output", &output.name);
                    let help =
                        "write `table: ...` with another name, or unite the steps with UNION ALL";
                    problems.push(subject.error(&path, Code::SharedTable, message).help(help));
                }
            }
        }
    }
    problems
}
