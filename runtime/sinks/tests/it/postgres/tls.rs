//! The modes of TLS.
use tidewheel_e2e::postgres::{Options, Postgres as Process};
use tidewheel_sinks::{
    SinkError,
    postgres::{Limits, Postgres},
};

async fn ping(url: &str) -> Result<(), String> {
    let sink = Postgres::new(url, Limits::default()).unwrap();
    match sink.ping().await {
        Ok(()) => Ok(()),
        Err(SinkError::Unavailable { reason, .. }) => Err(reason),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn each_mode_checks_what_it_says() {
    let process = Process::start(Options {
        tls: true,
        ..Options::default()
    })
    .unwrap();
    let tls = process.tls().unwrap();
    let (authority, other) = (tls.authority.display(), tls.other_authority.display());
    let at = |host: &str, query: &str| {
        let url = process.url_at(host, process.port(), "postgres");
        format!("{url}?{query}")
    };
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND application_name = ";
    for (host, query) in [
        ("127.0.0.1", "sslmode=prefer".to_owned()),
        ("127.0.0.1", "sslmode=require".to_owned()),
        (
            "127.0.0.1",
            format!("sslmode=require&sslrootcert={authority}"),
        ),
        (
            "127.0.0.1",
            format!("sslmode=verify-ca&sslrootcert={authority}"),
        ),
        (
            "localhost",
            format!("sslmode=verify-full&sslrootcert={authority}"),
        ),
    ] {
        let url = at(host, &format!("{query}&application_name=x"));
        let sink = Postgres::new(&url, Limits::default()).unwrap();
        sink.ping().await.unwrap();
        let found = process.sql("postgres", &format!("{encrypted}'x'")).unwrap();
        assert_eq!(found, "1", "{query}");
    }
    for (host, query) in [
        (
            "127.0.0.1",
            format!("sslmode=verify-full&sslrootcert={authority}"),
        ),
        (
            "localhost",
            format!("sslmode=verify-full&sslrootcert={other}"),
        ),
        ("localhost", "sslmode=verify-full".to_owned()),
        (
            "127.0.0.1",
            format!("sslmode=verify-ca&sslrootcert={other}"),
        ),
        ("127.0.0.1", format!("sslmode=require&sslrootcert={other}")),
    ] {
        let reason = ping(&at(host, &query)).await.unwrap_err();
        assert!(
            reason.contains("certificate") && !reason.contains("battery"),
            "{query}: {reason}"
        );
    }
    ping(&at("127.0.0.1", "sslmode=disable")).await.unwrap();
}

#[tokio::test]
async fn a_server_without_tls_is_taken_only_where_the_url_allows_it() {
    let process = Process::shared().unwrap();
    let url = process.url("postgres");
    for mode in ["disable", "prefer"] {
        ping(&format!("{url}?sslmode={mode}")).await.unwrap();
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let reason = ping(&format!("{url}?sslmode={mode}")).await.unwrap_err();
        assert!(reason.contains("server does not support TLS"), "{reason}");
    }
}
