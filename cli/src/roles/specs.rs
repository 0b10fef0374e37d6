//! What a role reads: resolved specs, and the Secrets beside them.
use std::path::PathBuf;

use tidewheel_crds::event_source::EventSourceSpec;
use tidewheel_planner::plan::Plan;
use tidewheel_planner::problem::{self, Code, Problem};
use tidewheel_planner::resource::{Resource, ResourceSet};

use crate::failure::Failure;
use crate::roles::args::SecretArgs;
use crate::roles::secrets::Secrets;
use crate::served::{api_keys, served_source};

/// Specs with nothing wrong in them.
pub(crate) struct RoleSpecs {
    pub(crate) set: ResourceSet,
    pub(crate) plans: Vec<Plan>,
    pub(crate) secrets: Secrets,
}

impl RoleSpecs {
    /// Reads and judges the files; what is odd is said.
    pub(crate) fn read(paths: &[PathBuf], secrets: &SecretArgs) -> Result<Self, Failure> {
        let (set, plans, mut problems) = tidewheel_planner::check(paths);
        // A Secret may be mounted; who needs it finds out.
        problems.retain(|problem| problem.code != Code::UnknownSecret);
        if problems.iter().any(Problem::is_error) {
            return Err(Failure::Specs(problems));
        }
        if !problems.is_empty() {
            tracing::warn!("{}", problem::render(&problems));
        }
        Ok(Self {
            secrets: Secrets::new(secrets.secrets.clone(), &set),
            set,
            plans,
        })
    }

    /// The plan of a Pipeline (`NAMESPACE/NAME`), or of the only one.
    pub(crate) fn plan(&self, wanted: Option<&str>) -> Result<&Plan, Failure> {
        let named = self.plans.iter();
        let named = named.map(|plan| (plan.full_name(), plan));
        only("Pipeline", "--pipeline", named.collect(), wanted)
    }

    /// The EventSources that take events and are `wanted` (`NAMESPACE/NAME`); all where none is named.
    pub(crate) fn http_sources(
        &self,
        wanted: &[String],
    ) -> Result<Vec<tidewheel_ingest::Source>, Failure> {
        let all = self.named_sources(|spec| spec.http.is_some());
        if all.is_empty() {
            return Err(Failure::usage(
                "the files hold no EventSource with `http`",
                "name files with one: nothing else takes events",
            ));
        }
        let chosen = match wanted {
            [] => all.into_iter().map(|(_, source)| source).collect(),
            wanted => wanted
                .iter()
                .map(|name| {
                    only(
                        "EventSource with `http`",
                        "--source",
                        all.clone(),
                        Some(name),
                    )
                })
                .collect::<Result<Vec<_>, _>>()?,
        };
        chosen
            .into_iter()
            .map(|source| self.served(source))
            .collect()
    }

    /// An EventSource that makes its events up (`NAMESPACE/NAME`), or the only one.
    pub(crate) fn generated_source(
        &self,
        wanted: Option<&str>,
    ) -> Result<(&EventSourceSpec, tidewheel_ingest::Source), Failure> {
        let all = self.named_sources(|spec| spec.generator.is_some());
        let source = only("EventSource with `generator`", "--source", all, wanted)?;
        Ok((&source.spec, self.served(source)?))
    }

    fn named_sources(
        &self,
        is_meant: impl Fn(&EventSourceSpec) -> bool,
    ) -> Vec<(String, &Resource<EventSourceSpec>)> {
        let sources = self.set.event_sources.iter();
        sources
            .filter(|source| is_meant(&source.spec))
            .map(|source| (source.id.full_name(), source))
            .collect()
    }

    fn served(
        &self,
        source: &Resource<EventSourceSpec>,
    ) -> Result<tidewheel_ingest::Source, Failure> {
        let keys = api_keys(source, |namespace, name| {
            self.secrets.all(namespace, name).map_err(|error| {
                let help = "each key of that Secret holds an API key";
                (error.to_string(), help.to_owned())
            })
        });
        let served = keys.and_then(|keys| served_source(source, keys));
        served.map_err(Failure::Specs)
    }
}

/// The one of that name, or the only one where no name is given.
fn only<'a, T>(
    kind: &str,
    option: &str,
    all: Vec<(String, &'a T)>,
    wanted: Option<&str>,
) -> Result<&'a T, Failure> {
    let names = all.iter().map(|(name, _)| name.as_str());
    let names = names.collect::<Vec<_>>().join(", ");
    match (wanted, &all[..]) {
        (_, []) => Err(Failure::usage(
            format!("the files hold no {kind}"),
            "name files with one",
        )),
        (None, [(_, found)]) => Ok(found),
        (None, _) => Err(Failure::usage(
            format!("the files hold more than one {kind}"),
            format!("choose with {option} NAMESPACE/NAME; there are: {names}"),
        )),
        (Some(wanted), all) => {
            let found = all.iter().find(|(name, _)| name == wanted);
            let missing = || {
                Failure::usage(
                    format!("the files hold no {kind} `{wanted}`"),
                    format!("write NAMESPACE/NAME; there are: {names}"),
                )
            };
            found.map(|(_, found)| *found).ok_or_else(missing)
        }
    }
}
