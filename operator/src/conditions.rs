//! How things stand with a resource, as conditions. Pure.
//!
//! Each step of a reconcile leaves [`Finding`]s; `Ready`, `Reconciling` and `Stalled` follow from them, as kstatus (and so `kubectl wait`, Argo CD and Flux) reads them.
use k8s_openapi::jiff::Timestamp;
use tidewheel_crds::Kind;
use tidewheel_crds::status::Condition;

/// What a finding means for the resource as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// As it should be.
    Good,
    /// It is on its way, or is tried again by itself.
    Waiting,
    /// Somebody has to change something first.
    Stuck,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident $standing:ident,)+) => {
        /// Why a condition is as it is: stable words for programs. `docs/conditions.md` lists them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The stable word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// What it means for the resource.
            #[must_use]
            pub const fn standing(self) -> Standing {
                match self {
                    $(Self::$name => Standing::$standing,)+
                }
            }
        }
    };
}

reasons! {
    /// Everything is in place.
    AllReady Good,
    /// The sources that it reads are there.
    Found Good,
    /// Topics are there as they are declared.
    TopicsAsDeclared Good,
    /// Tables are there as the plan needs them.
    TablesAsPlanned Good,
    /// The database answers.
    Connected Good,
    /// Nothing of the Sink has to answer before a Pipeline writes to it.
    NothingToConnect Good,
    /// All pods that should be there are available.
    Available Good,
    /// Nothing runs because `spec.suspend` says so.
    Suspended Good,
    /// It is not suspended.
    Running Good,
    /// Nothing is left to do.
    Settled Good,
    /// Nothing stands in the way.
    NothingInTheWay Good,
    /// It could not be looked at, because of what `Ready` says.
    NotLookedAt Good,
    /// Workers were added a moment ago, and are not all there yet.
    Scaling Good,
    /// What comes in is processed.
    Flowing Good,
    /// There are as many workers as catch up in time.
    FollowsLag Good,
    /// More workers would be right, and `spec.scaling.max` allows no more.
    AtMaximum Good,
    /// More workers would have nothing to do.
    AtPartitions Good,
    /// There is one possible number of workers.
    ReplicasFixed Good,
    /// Tasks cannot go on, so that more workers would not help.
    HeldBack Good,
    /// Nobody knows how much waits to be processed.
    LagUnknown Good,
    /// Whatever changed steps were to compute anew could be computed.
    Recomputed Good,
    /// Retention had taken events of windows that a changed step was to compute anew.
    EventsGone Good,

    /// Pods are being started or replaced.
    RollingOut Waiting,
    /// Kafka does not answer, or not now; it is tried again.
    KafkaUnavailable Waiting,
    /// A database does not answer, or not now; it is tried again.
    DatabaseUnavailable Waiting,

    /// Tasks cannot go on; it is tried again.
    Blocked Waiting,
    /// Workers have left what they should do to those of a newer plan, and there are none.
    Superseded Waiting,
    /// The resource is being deleted, and its data with it.
    Deleting Waiting,

    /// The spec cannot run: the message says where and what to write instead.
    SpecInvalid Stuck,
    /// An EventSource that it reads is not there.
    SourceMissing Stuck,
    /// An EventSource that it reads cannot run.
    SourceInvalid Stuck,
    /// A Sink that it writes to is not there.
    SinkMissing Stuck,
    /// A Sink that it writes to cannot run.
    SinkInvalid Stuck,
    /// A Secret, or a key of it, is not there.
    SecretMissing Stuck,
    /// What a Secret holds cannot be used.
    SecretInvalid Stuck,
    /// Something else writes to a table or topic of its outputs.
    OutputTaken Stuck,
    /// Nothing says how Kafka is reached from the namespace.
    KafkaUnknown Stuck,
    /// Kafka is another cluster than the one that has the topics.
    KafkaChanged Stuck,
    /// Kafka refuses a topic, or one that is there does not fit.
    TopicsRefused Stuck,
    /// The database refuses a table, or one that is there does not fit.
    TablesRefused Stuck,
    /// The database can never be used: it is too old, or newer builds laid it out.
    DatabaseUnsuitable Stuck,
    /// Something else in the namespace has the name that one of its objects needs.
    NameTaken Stuck,
    /// The cluster refuses one of its objects.
    ObjectRefused Stuck,
    /// Tasks cannot go on before somebody has mended something.
    NeedsMending Stuck,
    /// Pods do not become available.
    WorkloadFailing Stuck,
}

/// An aspect of how things stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Aspect {
    /// The resource as a whole, which has no condition beside `Ready`.
    Whole,
    /// The sources of a Pipeline.
    Sources,
    /// Topics.
    Topics,
    /// Schemas and tables, and the Sinks that have them.
    Schemas,
    /// Pods.
    Workloads,
    /// Whether nothing is read for now. It is no fault.
    Suspended,
    /// Whether what comes in is processed.
    Flow,
    /// Whether the number of workers follows what waits.
    Scaling,
    /// Whether windows that changed steps were to compute anew could be computed.
    Windows,
}

impl Aspect {
    /// What is looked at for every resource of a kind that can run.
    const fn of(kind: Kind) -> &'static [Self] {
        match kind {
            Kind::EventSource => &[Self::Topics],
            Kind::Pipeline => &[Self::Sources, Self::Topics, Self::Schemas],
            Kind::Sink => &[Self::Schemas],
        }
    }

    /// The type of its condition, where it has one.
    const fn condition(self) -> Option<&'static str> {
        match self {
            Self::Whole => None,
            Self::Sources => Some("SourcesReady"),
            Self::Topics => Some("TopicsReady"),
            Self::Schemas => Some("SchemasReady"),
            Self::Workloads => Some("WorkloadsAvailable"),
            Self::Suspended => Some("Suspended"),
            Self::Flow => Some("DataFlowing"),
            Self::Scaling => Some("ScalingActive"),
            Self::Windows => Some("WindowsRecomputed"),
        }
    }
}

/// What a step found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// About what.
    pub(crate) aspect: Aspect,
    /// How it is.
    pub(crate) reason: Reason,
    /// That, and what to do, for people.
    pub(crate) message: String,
}

impl Finding {
    /// A finding.
    pub(crate) fn new(aspect: Aspect, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            aspect,
            reason,
            message: message.into(),
        }
    }

    /// The status of its condition.
    fn status(&self) -> &'static str {
        let follows = [Reason::FollowsLag, Reason::AtMaximum, Reason::AtPartitions];
        let is_true = match (self.aspect, self.reason) {
            (Aspect::Flow | Aspect::Scaling, Reason::LagUnknown) | (_, Reason::NotLookedAt) => {
                return "Unknown";
            }
            (Aspect::Suspended, reason) => reason == Reason::Suspended,
            (Aspect::Flow, reason) => reason == Reason::Flowing,
            (Aspect::Scaling, reason) => follows.contains(&reason),
            (Aspect::Windows, reason) => reason == Reason::Recomputed,
            (_, reason) => reason.standing() == Standing::Good,
        };
        word(is_true)
    }

    /// What was found about an aspect when its condition was written; none where there is none.
    pub(crate) fn told(aspect: Aspect, conditions: &[Condition]) -> Option<Self> {
        let type_ = aspect.condition()?;
        let told = conditions
            .iter()
            .find(|condition| condition.type_ == type_)?;
        let mut reasons = Reason::ALL.iter();
        let reason = reasons.find(|reason| reason.as_str() == told.reason)?;
        Some(Self::new(aspect, *reason, told.message.as_str()))
    }
}

/// The status of a condition that is known.
const fn word(is_true: bool) -> &'static str {
    if is_true { "True" } else { "False" }
}

/// The longest message that the API takes, bytes.
const MAX_MESSAGE_BYTES: usize = 32_768;

/// The worst of what was found, the first of several; none where all is good.
#[must_use]
pub(crate) fn worst(findings: &[Finding]) -> Option<&Finding> {
    let wrong = findings
        .iter()
        .filter(|finding| finding.reason.standing() > Standing::Good);
    wrong.min_by_key(|finding| std::cmp::Reverse(finding.reason.standing()))
}

/// What was found of a resource, and that nobody knows of the rest, where something was in the way of looking at it.
#[must_use]
pub(crate) fn completed(kind: Kind, findings: &[Finding]) -> Vec<Finding> {
    let mut all = findings.to_vec();
    if worst(findings).is_some() {
        let is_found = |aspect| findings.iter().any(|finding| finding.aspect == aspect);
        let rest = Aspect::of(kind).iter().filter(|aspect| !is_found(**aspect));
        let message = "it was not looked at, because of what the condition Ready says";
        all.extend(rest.map(|aspect| Finding::new(*aspect, Reason::NotLookedAt, message)));
    }
    all
}

/// The conditions that follow from what was found of `generation`. What has not changed since `before` keeps its time.
#[must_use]
pub(crate) fn conditions(
    findings: &[Finding],
    generation: Option<i64>,
    before: &[Condition],
    now: Timestamp,
) -> Vec<Condition> {
    let condition = |type_: &str, status: &str, reason: Reason, message: &str| {
        let same = before
            .iter()
            .find(|old| old.type_ == type_ && old.status == status);
        let since = same.map(|old| old.last_transition_time.clone());
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.as_str().to_owned(),
            message: cut(message).to_owned(),
            last_transition_time: since
                .unwrap_or_else(|| now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
            observed_generation: generation,
        }
    };
    let standing = |wanted| {
        findings
            .iter()
            .find(|finding| finding.reason.standing() == wanted)
    };
    let suspended = findings
        .iter()
        .find(|finding| finding.aspect == Aspect::Suspended && finding.reason == Reason::Suspended);
    let good = suspended.map_or((Reason::AllReady, "everything is in place"), |finding| {
        (finding.reason, finding.message.as_str())
    });
    let or = |found: Option<&Finding>, otherwise: (Reason, &str)| {
        let (reason, message) =
            found.map_or(otherwise, |found| (found.reason, found.message.as_str()));
        (reason, message.to_owned())
    };
    let (ready, why) = or(worst(findings), good);
    let waiting = standing(Standing::Waiting);
    let (reconciling, what) = or(waiting, (Reason::Settled, "nothing is left to do"));
    let stuck = standing(Standing::Stuck);
    let (stalled, by_what) = or(
        stuck,
        (Reason::NothingInTheWay, "nothing stands in the way"),
    );
    let mut conditions = vec![
        condition("Ready", word(worst(findings).is_none()), ready, &why),
        condition("Reconciling", word(waiting.is_some()), reconciling, &what),
        condition("Stalled", word(stuck.is_some()), stalled, &by_what),
    ];
    let aspects = findings.iter().filter_map(|finding| {
        let type_ = finding.aspect.condition()?;
        Some(condition(
            type_,
            finding.status(),
            finding.reason,
            &finding.message,
        ))
    });
    conditions.extend(aspects);
    conditions
}

fn cut(message: &str) -> &str {
    let end = message.floor_char_boundary(MAX_MESSAGE_BYTES);
    message.get(..end).unwrap_or(message)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn said<'a>(conditions: &'a [Condition], type_: &str) -> (&'a str, &'a str, &'a str) {
        let found = conditions
            .iter()
            .find(|condition| condition.type_ == type_)
            .unwrap();
        (&found.status, &found.reason, &found.last_transition_time)
    }

    const EPOCH: &str = "1970-01-01T00:00:00Z";
    const LATER: &str = "1970-01-01T00:00:09Z";

    #[test]
    fn what_is_stuck_counts_more_than_what_waits() {
        let findings = [
            Finding::new(Aspect::Topics, Reason::KafkaUnavailable, "no answer"),
            Finding::new(Aspect::Whole, Reason::SpecInvalid, "step `a`"),
        ];
        let conditions = conditions(&findings, Some(3), &[], at(0));
        assert_eq!(said(&conditions, "Ready"), ("False", "SpecInvalid", EPOCH));
        assert_eq!(
            said(&conditions, "Reconciling"),
            ("True", "KafkaUnavailable", EPOCH)
        );
        assert_eq!(said(&conditions, "Stalled"), ("True", "SpecInvalid", EPOCH));
        assert_eq!(
            said(&conditions, "TopicsReady"),
            ("False", "KafkaUnavailable", EPOCH)
        );
        assert!(
            conditions
                .iter()
                .all(|condition| condition.observed_generation == Some(3))
        );
    }

    #[test]
    fn the_time_of_a_condition_moves_with_its_status_alone() {
        let finding = |reason| [Finding::new(Aspect::Workloads, reason, "pods")];
        let before = conditions(&finding(Reason::RollingOut), None, &[], at(0));
        let failing = conditions(&finding(Reason::WorkloadFailing), None, &before, at(9));
        assert_eq!(said(&failing, "Ready"), ("False", "WorkloadFailing", EPOCH));
        assert_eq!(
            said(&failing, "Stalled"),
            ("True", "WorkloadFailing", LATER)
        );
        let good = conditions(&finding(Reason::Available), None, &failing, at(9));
        assert_eq!(said(&good, "Ready"), ("True", "AllReady", LATER));
        assert_eq!(
            conditions(&finding(Reason::Available), None, &good, at(99)),
            good
        );
    }

    #[test]
    fn what_could_not_be_looked_at_is_unknown() {
        let good = [Finding::new(Aspect::Sources, Reason::Found, "there")];
        assert_eq!(completed(Kind::Pipeline, &good), good);
        let findings = [
            Finding::new(Aspect::Whole, Reason::SpecInvalid, "step `a`"),
            Finding::new(Aspect::Workloads, Reason::Available, "2 pods"),
        ];
        for (kind, unknown) in [
            (
                Kind::Pipeline,
                &["SourcesReady", "TopicsReady", "SchemasReady"][..],
            ),
            (Kind::EventSource, &["TopicsReady"]),
            (Kind::Sink, &["SchemasReady"]),
        ] {
            let now = conditions(&completed(kind, &findings), None, &[], at(0));
            assert_eq!(said(&now, "Ready"), ("False", "SpecInvalid", EPOCH));
            assert_eq!(said(&now, "WorkloadsAvailable").0, "True");
            for type_ in unknown {
                assert_eq!(said(&now, type_), ("Unknown", "NotLookedAt", EPOCH));
            }
            assert_eq!(now.len(), 4 + unknown.len());
        }
    }

    #[test]
    fn what_is_suspended_is_ready() {
        let findings = [
            Finding::new(Aspect::Topics, Reason::TopicsAsDeclared, "3 topics"),
            Finding::new(
                Aspect::Suspended,
                Reason::Suspended,
                "`spec.suspend` is set",
            ),
        ];
        let suspended = conditions(&findings, None, &[], at(0));
        assert_eq!(said(&suspended, "Ready"), ("True", "Suspended", EPOCH));
        assert_eq!(said(&suspended, "Suspended"), ("True", "Suspended", EPOCH));
        let findings = [Finding::new(
            Aspect::Suspended,
            Reason::Running,
            "it is not suspended",
        )];
        let running = conditions(&findings, None, &suspended, at(9));
        assert_eq!(said(&running, "Ready"), ("True", "AllReady", EPOCH));
        assert_eq!(said(&running, "Suspended"), ("False", "Running", LATER));
    }

    #[test]
    fn what_flows_and_scales_is_said_without_being_ready_or_not() {
        let findings = [
            Finding::new(Aspect::Flow, Reason::LagUnknown, "no worker is ready"),
            Finding::new(Aspect::Scaling, Reason::ReplicasFixed, "2 workers"),
        ];
        let unknown = conditions(&findings, None, &[], at(0));
        assert_eq!(said(&unknown, "Ready"), ("True", "AllReady", EPOCH));
        let flowing = said(&unknown, "DataFlowing");
        assert_eq!(flowing, ("Unknown", "LagUnknown", EPOCH));
        let scaling = said(&unknown, "ScalingActive");
        assert_eq!(scaling, ("False", "ReplicasFixed", EPOCH));
        // What was told is found again by whoever has not looked yet.
        for finding in findings {
            assert_eq!(Finding::told(finding.aspect, &unknown), Some(finding));
        }
        assert_eq!(Finding::told(Aspect::Topics, &unknown), None);
    }

    #[test]
    fn tasks_that_cannot_go_on_are_waited_for_or_stuck() {
        for (reason, ready, stalled) in [
            (
                Reason::Blocked,
                ("False", "Blocked"),
                ("False", "NothingInTheWay"),
            ),
            (
                Reason::NeedsMending,
                ("False", "NeedsMending"),
                ("True", "NeedsMending"),
            ),
        ] {
            let findings = [Finding::new(Aspect::Flow, reason, "tasks of `clicks`")];
            let conditions = conditions(&findings, None, &[], at(0));
            let of = |type_| {
                let (status, reason, _) = said(&conditions, type_);
                (status, reason)
            };
            assert_eq!((of("Ready"), of("Stalled")), (ready, stalled));
            assert_eq!(of("DataFlowing"), ("False", reason.as_str()));
        }
    }

    /// The first column of the table below a heading of the page.
    fn documented(page: &str) -> Vec<&str> {
        let (_, reasons) = page.split_once("## Reasons").unwrap();
        let rows = reasons.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.filter_map(|row| row.split('`').next()).collect()
    }

    #[test]
    fn every_reason_is_documented_and_no_other() {
        let page = include_str!("../../docs/conditions.md");
        let mut documented = documented(page);
        documented.sort_unstable();
        let mut reasons: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        reasons.sort_unstable();
        assert_eq!(documented, reasons);
    }
}
