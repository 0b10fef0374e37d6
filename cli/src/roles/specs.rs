//! What a role reads: resolved specs, and the Secrets beside them.
use std::path::PathBuf;

use clap::Args;
use tidewheel_crds::event_source::EventSourceSpec;
use tidewheel_ingest::ApiKeys;
use tidewheel_planner::plan::Plan;
use tidewheel_planner::problem::{self, Code, Problem};
use tidewheel_planner::resource::{Resource, ResourceSet};

use crate::dev::specs::{self, resource_problem};
use crate::failure::Failure;
use crate::roles::secrets::Secrets;

/// What every role reads.
#[derive(Debug, Clone, Args)]
pub(crate) struct SpecArgs {
    /// Files with resources, the same documents as for `check`, and folders with `*.yaml` and `*.yml` files
    #[arg(
        required = true,
        value_name = "SPEC",
        env = "TIDEWHEEL_SPECS",
        value_delimiter = ':'
    )]
    pub(crate) specs: Vec<PathBuf>,
    /// A folder with mounted Secrets, `DIR/<secret>/<key>`; they win over `kind: Secret` documents
    #[arg(long, value_name = "DIR", env = "TIDEWHEEL_SECRETS")]
    pub(crate) secrets: Option<PathBuf>,
}

/// Specs with nothing wrong in them.
pub(crate) struct RoleSpecs {
    pub(crate) set: ResourceSet,
    pub(crate) plans: Vec<Plan>,
    pub(crate) secrets: Secrets,
}

impl RoleSpecs {
    /// Reads and judges the files; what is odd is said.
    pub(crate) fn read(args: &SpecArgs) -> Result<Self, Failure> {
        let (set, plans, mut problems) = tidewheel_planner::check(&args.specs);
        // A Secret may be mounted; who needs its keys finds out.
        problems.retain(|problem| problem.code != Code::UnknownSecret);
        if problems.iter().any(Problem::is_error) {
            return Err(Failure::Specs(problems));
        }
        if !problems.is_empty() {
            eprintln!("{}", problem::render(&problems));
        }
        Ok(Self {
            secrets: Secrets::new(args.secrets.clone(), &set),
            set,
            plans,
        })
    }

    /// The plan of a Pipeline (`NAMESPACE/NAME`).
    pub(crate) fn plan(&self, pipeline: &str) -> Result<&Plan, Failure> {
        let name = |plan: &Plan| format!("{}/{}", plan.namespace, plan.name);
        let found = self.plans.iter().find(|plan| name(plan) == pipeline);
        found.ok_or_else(|| {
            let names: Vec<String> = self.plans.iter().map(name).collect();
            unknown("Pipeline", pipeline, &names)
        })
    }

    /// An EventSource (`NAMESPACE/NAME`) as ingestion takes it, API keys and all.
    pub(crate) fn source(
        &self,
        source: &str,
    ) -> Result<(&EventSourceSpec, tidewheel_ingest::Source), Failure> {
        let name = |source: &Resource<EventSourceSpec>| {
            format!("{}/{}", source.id.namespace, source.id.name)
        };
        let mut sources = self.set.event_sources.iter();
        let found = sources.find(|found| name(found) == source);
        let found = found.ok_or_else(|| {
            let names: Vec<String> = self.set.event_sources.iter().map(name).collect();
            unknown("EventSource", source, &names)
        })?;
        let keys = self.api_keys(found)?;
        let served = specs::ingest_source(found, keys).map_err(Failure::Specs)?;
        Ok((&found.spec, served))
    }

    fn api_keys(&self, source: &Resource<EventSourceSpec>) -> Result<Option<ApiKeys>, Failure> {
        let http = source.spec.http.as_ref();
        let Some(auth) = http.and_then(|http| http.auth.as_ref()) else {
            return Ok(None);
        };
        let wrong = |message: String, help: &str| {
            let problem = resource_problem(&source.id, Code::InvalidSecret, message, help);
            Failure::Specs(vec![problem])
        };
        let name = &auth.api_keys.secret_ref.name;
        let secret = self
            .secrets
            .all(&source.id.namespace, name)
            .map_err(|error| wrong(error.to_string(), "each key of the Secret is an API key"))?;
        specs::parse_keys(&secret)
            .map(Some)
            .map_err(|reason| wrong(reason, specs::KEYS_HELP))
    }
}

fn unknown(kind: &str, name: &str, names: &[String]) -> Failure {
    Failure::usage(
        format!("the files hold no {kind} `{name}`"),
        format!("write NAMESPACE/NAME; there are: {}", names.join(", ")),
    )
}
