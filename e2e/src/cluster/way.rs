//! Where a cluster comes from that nobody has given: from packages, or from kind.
use clap::ValueEnum;

use crate::cluster::{
    error::ClusterError,
    kind,
    programs::{Programs, check_machine},
};

/// How a cluster is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// Of Kubernetes built from its modules and of Debian's packages, as root, in namespaces of its own
    Packages,
    /// By kind, in a container of the Docker engine of this machine
    Kind,
}

/// Whether a cluster can be made from packages on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Can {
    /// All that it needs is here.
    Now,
    /// When what is named was installed.
    Once(String),
    /// Not on this machine or not for this user, and why.
    Not(String),
}

/// A way, and why it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The way.
    pub way: Way,
    /// What speaks for it, as the end of a sentence.
    pub because: String,
    /// Whether something must and can be installed first.
    pub lacks: bool,
}

/// Chooses how to make a cluster on this machine: as somebody has asked, or with what is here already.
///
/// # Errors
/// [`ClusterError::Missing`] where neither way leads to one.
pub fn choose_way(asked: Option<Way>) -> Result<Choice, ClusterError> {
    choose(asked, &packages(), kind_here)
}

/// The rule: what was asked for; else what can begin at once, packages before kind; else packages, where they can be installed.
/// Docker is asked only where it matters.
fn choose(
    asked: Option<Way>,
    packages: &Can,
    kind: impl FnOnce() -> Result<(), String>,
) -> Result<Choice, ClusterError> {
    let lacks = matches!(packages, Can::Once(_));
    let chosen = |way, because: String| {
        let lacks = lacks && way == Way::Packages;
        Ok(Choice {
            way,
            because,
            lacks,
        })
    };
    if let Some(way) = asked {
        return chosen(way, "it was asked for".to_owned());
    }
    let lacking = match packages {
        Can::Now => return chosen(Way::Packages, "all that it needs is here".to_owned()),
        Can::Once(lacking) | Can::Not(lacking) => lacking,
    };
    match (kind(), packages) {
        (Ok(()), _) => chosen(
            Way::Kind,
            format!(
                "it is here and Docker answers; for a cluster from packages there is missing:\n{lacking}"
            ),
        ),
        (Err(without), Can::Once(_)) => chosen(
            Way::Packages,
            format!("what it needs can be installed; for one by kind there is missing:\n{without}"),
        ),
        (Err(without), _) => Err(ClusterError::Missing {
            what: format!(
                "what makes a cluster. From packages there is missing:\n{lacking}\n  By kind there is missing:\n{without}"
            ),
            how: "see to either of them, or give a cluster that is there (docs/cluster.md)"
                .to_owned(),
        }),
    }
}

fn packages() -> Can {
    if let Err(error) = check_machine() {
        return Can::Not(lacking(&error));
    }
    Programs::find().map_or_else(|error| Can::Once(lacking(&error)), |_| Can::Now)
}

fn kind_here() -> Result<(), String> {
    kind::check().map_err(|error| lacking(&error))
}

/// What an error says, as part of a longer message: a line for each thing.
fn lacking(error: &ClusterError) -> String {
    let text = match error {
        ClusterError::Missing { what, .. } => what.replace("\n  missing: ", "\n"),
        error => error.to_string(),
    };
    let lines = text.lines().map(|line| format!("    {}", line.trim()));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::{Can, Choice, Way, choose, lacking};
    use crate::cluster::ClusterError;

    const UNINSTALLED: &str = "    containerd";
    const NO_DOCKER: &str = "    an engine of Docker that answers";

    fn once() -> Can {
        Can::Once(UNINSTALLED.to_owned())
    }

    fn not() -> Can {
        Can::Not("    root's rights".to_owned())
    }

    fn no_kind() -> Result<(), String> {
        Err(NO_DOCKER.to_owned())
    }

    fn way(choice: Result<Choice, ClusterError>) -> (Way, String) {
        let choice = choice.unwrap();
        (choice.way, choice.because)
    }

    #[test]
    fn what_was_asked_for_is_taken_whatever_is_here() {
        for packages in [Can::Now, once(), not()] {
            for asked in [Way::Packages, Way::Kind] {
                let choice = choose(Some(asked), &packages, || panic!("Docker is not asked"));
                assert_eq!(way(choice), (asked, "it was asked for".to_owned()));
            }
        }
    }

    #[test]
    fn packages_are_taken_where_they_are_here_and_docker_is_not_asked() {
        let choice = choose(None, &Can::Now, || panic!("Docker is not asked")).unwrap();
        assert_eq!(choice.way, Way::Packages);
        assert!(!choice.lacks);
    }

    #[test]
    fn kind_is_taken_where_packages_are_not_here_or_not_possible() {
        for packages in [once(), not()] {
            let choice = choose(None, &packages, || Ok(())).unwrap();
            assert_eq!(choice.way, Way::Kind);
            assert!(!choice.lacks, "kind needs nothing of what packages lack");
        }
        let (_, because) = way(choose(None, &once(), || Ok(())));
        assert!(because.contains(UNINSTALLED), "{because}");
    }

    #[test]
    fn packages_are_installed_where_kind_is_not_here_either() {
        let choice = choose(None, &once(), no_kind).unwrap();
        assert_eq!(choice.way, Way::Packages);
        assert!(choice.lacks);
        assert!(choice.because.contains(NO_DOCKER), "{}", choice.because);
    }

    #[test]
    fn where_neither_is_possible_both_are_explained() {
        let error = choose(None, &not(), no_kind).unwrap_err().to_string();
        for part in ["root's rights", NO_DOCKER, "do this: "] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn each_missing_thing_is_a_line() {
        let error = ClusterError::Missing {
            what: "kind\n  missing: helm".to_owned(),
            how: "install them".to_owned(),
        };
        assert_eq!(lacking(&error), "    kind\n    helm");
    }
}
