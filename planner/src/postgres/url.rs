//! The URL of a database, as far as it can be judged without connecting.

/// What may stand behind the `?`.
const PARAMETERS: [&str; 12] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];
/// What `sslmode` may be.
const MODES: [&str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];

/// Why a URL is none of a PostgreSQL database. It holds nothing of the URL but names of parameters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// It does not begin as it should.
    #[error("the URL of the database has to begin with postgres:// or postgresql://")]
    Scheme,
    /// It has a parameter that means nothing here.
    #[error(
        "the URL of the database has the parameter `{0}`, which is not one of: {list}",
        list = PARAMETERS.join(", ")
    )]
    Parameter(String),
    /// Its `sslmode` is unknown.
    #[error("`sslmode` in the URL of the database is not one of: {list}", list = MODES.join(", "))]
    Mode,
    /// It cannot be read.
    #[error(
        "the URL of the database cannot be read; it looks like postgres://user:password@host:5432/database, with %XX for special characters in a password"
    )]
    Malformed,
}

/// What a URL says that its reader may not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckedUrl {
    /// Whether the server's certificate is to be checked although `sslmode` is only `require`: as with libpq, that is so where
    /// there is an `sslrootcert`.
    pub verify_ca: bool,
}

/// Checks what stands in front of and behind the parts of a URL that its reader checks.
///
/// # Errors
/// [`InvalidUrl`], but never [`InvalidUrl::Malformed`].
pub fn check_url(url: &str) -> Result<CheckedUrl, InvalidUrl> {
    let schemes = ["postgres://", "postgresql://"];
    if !schemes.iter().any(|scheme| url.starts_with(scheme)) {
        return Err(InvalidUrl::Scheme);
    }
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let query = query.split_once('#').map_or(query, |(query, _)| query);
    let parameters: Vec<(&str, &str)> = query
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
        .collect();
    for (name, _) in &parameters {
        // Readers are known to log the value of one that they do not know.
        if !PARAMETERS.contains(name) {
            return Err(InvalidUrl::Parameter((*name).to_owned()));
        }
    }
    let given = |wanted: &str| {
        let parameter = parameters.iter().rfind(|(name, _)| *name == wanted);
        parameter.map(|(_, value)| *value)
    };
    let mode = given("sslmode");
    if mode.is_some_and(|mode| !MODES.contains(&mode)) {
        return Err(InvalidUrl::Mode);
    }
    Ok(CheckedUrl {
        verify_ca: mode == Some("require") && given("sslrootcert").is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named_without_any_secret() {
        let error = |url: &str| check_url(url).unwrap_err();
        assert_eq!(error("mysql://u:secret@h/x"), InvalidUrl::Scheme);
        assert_eq!(
            error("postgres://u:secret@h/x?sslpassword=secret"),
            InvalidUrl::Parameter("sslpassword".to_owned())
        );
        assert_eq!(
            error("postgres://u:secret@h/x?sslmode=secret").to_string(),
            "`sslmode` in the URL of the database is not one of: disable, prefer, require, verify-ca, verify-full"
        );
    }

    #[test]
    fn a_certificate_that_is_given_is_checked() {
        let checked = |query: &str| check_url(&format!("postgres://u:p@h/x{query}")).unwrap();
        assert!(!checked("?sslmode=require").verify_ca);
        assert!(checked("?sslmode=require&sslrootcert=/etc/ca.crt").verify_ca);
    }
}
