//! The URL of a database.
use std::str::FromStr as _;

use sqlx::{
    ConnectOptions as _,
    postgres::{PgConnectOptions, PgSslMode},
};
use tidewheel_planner::postgres::{InvalidUrl, check_url};

/// What is needed to connect.
pub(super) fn parse(url: &str) -> Result<PgConnectOptions, InvalidUrl> {
    let checked = check_url(url)?;
    let mut options = PgConnectOptions::from_str(url).map_err(|_| InvalidUrl::Malformed)?;
    if checked.verify_ca {
        options = options.ssl_mode(PgSslMode::VerifyCa);
    }
    if options.get_application_name().is_none() {
        options = options.application_name("tidewheel");
    }
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
    fn a_url_that_cannot_be_read_is_not_repeated() {
        for url in [
            "postgres://u:secret@h:port/x",
            "postgres://u:secret/x@h:5432/x",
            "postgres://u:secret@h/x?port=secret",
        ] {
            assert_eq!(parse(url).unwrap_err(), InvalidUrl::Malformed, "{url}");
        }
    }
}
