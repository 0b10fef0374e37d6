//! Names of objects.
use crate::documents::hash;

/// What a Service, and so everything of a workload, may be called at most.
const MAX_NAME: usize = 63;
/// Digits of the digest that tells names apart which were cut.
const DIGITS: usize = 8;

/// `<resource>-<role>`, cut where that is too long, and then with a digest of the whole.
pub(super) fn workload(resource: &str, role: &str) -> String {
    let whole = format!("{resource}-{role}");
    if whole.len() <= MAX_NAME {
        return whole;
    }
    let kept = MAX_NAME - DIGITS - role.len() - 2;
    let kept = resource
        .get(..kept)
        .unwrap_or(resource)
        .trim_end_matches('-');
    format!("{kept}-{}-{role}", short(&whole))
}

/// A few digits of the digest of a text.
fn short(text: &str) -> String {
    hash(text.as_bytes()).chars().take(DIGITS).collect()
}

/// `<workload>-<digest>`: another name for each content.
pub(super) fn immutable(workload: &str, content: &str) -> String {
    format!("{workload}-{}", short(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_stay_different() {
        assert_eq!(workload("clicks", "ingest"), "clicks-ingest");
        let longest = "a".repeat(MAX_NAME);
        let (one, other) = (format!("{}b", &longest[1..]), format!("{}c", &longest[1..]));
        let names = [longest, one, other].map(|name| workload(&name, "ingest"));
        for name in &names {
            assert_eq!(name.len(), MAX_NAME, "{name}");
            assert!(name.ends_with("-ingest"), "{name}");
        }
        assert!(names[0] != names[1] && names[1] != names[2]);
        let dashes = format!("{}-{}", "a".repeat(46), "b".repeat(16));
        assert!(!workload(&dashes, "ingest").contains("--"));
    }
}
