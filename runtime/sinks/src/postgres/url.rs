//! The URL of a database.
use std::str::FromStr as _;

use sqlx::{
    ConnectOptions as _,
    postgres::{PgConnectOptions, PgSslMode},
};

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

/// What is needed to connect.
pub(super) fn parse(url: &str) -> Result<PgConnectOptions, InvalidUrl> {
    if !["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| url.starts_with(scheme))
    {
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
        // The library would log the value of one that it does not know.
        if !PARAMETERS.contains(name) {
            return Err(InvalidUrl::Parameter((*name).to_owned()));
        }
    }
    let given = |wanted: &str| parameters.iter().rfind(|(name, _)| *name == wanted);
    if given("sslmode").is_some_and(|(_, mode)| !MODES.contains(mode)) {
        return Err(InvalidUrl::Mode);
    }
    let options = PgConnectOptions::from_str(url).map_err(|_| InvalidUrl::Malformed)?;
    // As libpq has it: a certificate that is given is checked.
    let checked =
        matches!(options.get_ssl_mode(), PgSslMode::Require) && given("sslrootcert").is_some();
    let options = if checked {
        options.ssl_mode(PgSslMode::VerifyCa)
    } else {
        options
    };
    let options = match options.get_application_name() {
        Some(_) => options,
        None => options.application_name("tidewheel"),
    };
    Ok(options
        // Poolers refuse what they do not know when a connection begins.
        .extra_float_digits(None)
        .statement_cache_capacity(0)
        .disable_statement_logging())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_of_tls_are_those_of_libpq() {
        let mode = |query: &str| {
            let url = format!("postgres://u:p@db.shop/x{query}");
            format!("{:?}", parse(&url).unwrap().get_ssl_mode())
        };
        assert_eq!(mode(""), "Prefer");
        assert_eq!(mode("?sslmode=disable"), "Disable");
        assert_eq!(mode("?sslmode=require"), "Require");
        assert_eq!(mode("?sslmode=require&sslrootcert=/etc/ca.crt"), "VerifyCa");
        assert_eq!(mode("?sslmode=verify-full"), "VerifyFull");
    }

    #[test]
    fn mistakes_are_named_without_any_secret() {
        let message = |url: &str| parse(url).unwrap_err().to_string();
        assert_eq!(
            parse("mysql://u:secret@h/x").unwrap_err(),
            InvalidUrl::Scheme
        );
        assert_eq!(
            parse("postgres://u:secret@h/x?sslpassword=secret").unwrap_err(),
            InvalidUrl::Parameter("sslpassword".to_owned())
        );
        assert_eq!(
            message("postgres://u:secret@h/x?sslmode=secret"),
            "`sslmode` in the URL of the database is not one of: disable, prefer, require, verify-ca, verify-full"
        );
        for url in [
            "postgres://u:secret@h:port/x",
            "postgres://u:secret/x@h:5432/x",
            "postgres://u:secret@h/x?port=secret",
        ] {
            assert_eq!(parse(url).unwrap_err(), InvalidUrl::Malformed, "{url}");
        }
    }
}
