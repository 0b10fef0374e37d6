//! Names that a person may have meant.

/// How many names a message lists before it stops.
const LISTED: usize = 20;

/// The names nearest to `wanted`, best first, at most three.
pub(crate) fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = wanted.to_lowercase();
    let mut scored: Vec<(f64, &str)> = names
        .into_iter()
        .map(|name| (likeness(&wanted, &name.to_lowercase()), name))
        .filter(|(score, _)| *score > 0.75)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.dedup_by(|a, b| a.1 == b.1);
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}

/// How alike two names are, up to 1. One slip of the fingers makes another name of a short one, but a near one.
fn likeness(wanted: &str, name: &str) -> f64 {
    let alike = strsim::jaro_winkler(wanted, name);
    if wanted.len() > 2 && strsim::osa_distance(wanted, name) == 1 {
        alike.max(0.9)
    } else {
        alike
    }
}

/// "did you mean `a` or `b`?", if anything is near.
pub(crate) fn did_you_mean<'a>(
    wanted: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let near = nearest(wanted, names);
    (!near.is_empty()).then(|| format!("did you mean {}?", either(&near)))
}

/// "did you mean ...?" and the list of what there is.
pub(crate) fn suggestion<'a>(
    wanted: &str,
    what: &str,
    names: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    let list = listed(names.clone());
    match (did_you_mean(wanted, names), list.is_empty()) {
        (Some(near), _) => format!("{near} {what}: {list}"),
        (None, false) => format!("{what}: {list}"),
        (None, true) => format!("there are no {what}"),
    }
}

/// `` `a`, `b`, `c` ``, cut off when it grows long.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let mut text = names
        .iter()
        .take(LISTED)
        .map(|n| format!("`{n}`"))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > LISTED {
        text.push_str(&format!(" and {} more", names.len() - LISTED));
    }
    text
}

/// `` `a`, `b` or `c` ``.
fn either(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => format!("`{one}`"),
        [first @ .., last] => {
            format!(
                "{} or `{last}`",
                first
                    .iter()
                    .map(|n| format!("`{n}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        }
    }
}
