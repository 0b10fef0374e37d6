//! A database that is not there for a while.
use std::time::Duration;

use sqlx::{ConnectOptions as _, PgConnection, postgres::PgConnectOptions};
use tidewheel_e2e::postgres::{Options, Postgres as Process};
use tidewheel_sinks::{
    Sink as _, SinkError, Writer,
    postgres::{Health, Limits, Postgres},
};

use crate::{
    fixture::{at, commit, number_table, numbers, output, progress, task},
    server::{Server, create},
};

fn unavailable<T: std::fmt::Debug>(outcome: Result<T, SinkError>) -> String {
    match outcome {
        Err(SinkError::Unavailable { reason, .. }) => reason,
        other => panic!("not unavailable: {other:?}"),
    }
}

fn impatient() -> Limits {
    Limits {
        statement: Duration::from_millis(500),
        lock: Duration::from_millis(100),
        network: Duration::from_millis(500),
        ..Limits::default()
    }
}

async fn writer(sink: &Postgres) -> Box<dyn Writer> {
    let mut writer = sink
        .writer(&output(), &number_table(), &task(0))
        .await
        .unwrap();
    writer.begin_generation(1, None).await.unwrap();
    writer
}

/// A writer that has little patience, and has written one row.
async fn impatient_writer(server: &Server) -> (Postgres, Box<dyn Writer>) {
    server.create(&output(), &number_table()).await.unwrap();
    let sink = Postgres::new(&server.process.url(&server.name), impatient()).unwrap();
    let mut writer = writer(&sink).await;
    commit(&mut writer, &numbers(0..1), None, 1).await.unwrap();
    (sink, writer)
}

async fn somebody_else(server: &Server) -> PgConnection {
    let options: PgConnectOptions = server.process.url(&server.name).parse().unwrap();
    options.connect().await.unwrap()
}

#[tokio::test]
async fn a_lock_that_somebody_holds_is_said_and_waited_for() {
    let server = Server::shared();
    let (sink, mut writer) = impatient_writer(&server).await;
    let mut other = somebody_else(&server).await;
    sqlx::raw_sql("BEGIN; LOCK TABLE numbers IN ACCESS EXCLUSIVE MODE")
        .execute(&mut other)
        .await
        .unwrap();
    let reason = unavailable(commit(&mut writer, &numbers(1..2), Some(1), 2).await);
    assert_eq!(
        reason,
        "canceling statement due to lock timeout (SQLSTATE 55P03): another session holds a lock on the table; it is tried again"
    );
    assert!(matches!(sink.health(), Health::Unreachable { reason: said, .. } if said == reason));
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    commit(&mut writer, &numbers(1..2), Some(1), 2)
        .await
        .unwrap();
    assert_eq!(sink.health(), Health::Reachable);
    assert_eq!(server.sql("SELECT count(*) FROM numbers"), "2");
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_given_up_and_tried_again() {
    let server = Server::shared();
    let (_, mut writer) = impatient_writer(&server).await;
    server.sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(5); RETURN new; END';
         CREATE TRIGGER slow BEFORE INSERT ON numbers FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let reason = unavailable(commit(&mut writer, &numbers(1..2), Some(1), 2).await);
    assert!(
        reason.contains("statement timeout (SQLSTATE 57014)"),
        "{reason}"
    );
    server.sql("DROP TRIGGER slow ON numbers");
    assert_eq!(progress(&mut writer).await, Some(at(1)));
    commit(&mut writer, &numbers(1..2), Some(1), 2)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_no_row() {
    let server = Server::shared();
    let (_, mut writer) = impatient_writer(&server).await;
    server.sql(
        "CREATE FUNCTION full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'could not extend file' USING ERRCODE = '53100'; END $$;
         CREATE TRIGGER disk BEFORE INSERT ON numbers FOR EACH ROW EXECUTE FUNCTION full()",
    );
    let reason = unavailable(commit(&mut writer, &numbers(1..9), Some(1), 9).await);
    assert_eq!(
        reason,
        "could not extend file (SQLSTATE 53100): make room on the disk of the database"
    );
    server.sql("DROP TRIGGER disk ON numbers");
    let committed = commit(&mut writer, &numbers(1..9), Some(1), 9).await;
    assert_eq!(committed.unwrap().refused, []);
}

#[tokio::test]
async fn a_transaction_that_somebody_forgot_to_end_holds_up_nobody_for_long() {
    let server = Server::shared();
    let (_, mut writer) = impatient_writer(&server).await;
    // As a process does that was stopped between its last question and its COMMIT.
    let mut stopped = somebody_else(&server).await;
    sqlx::raw_sql(
        "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 300; UPDATE _tidewheel_progress SET next_offset = 7",
    )
    .execute(&mut stopped)
    .await
    .unwrap();
    let mut waited = 0;
    while let Err(error) = commit(&mut writer, &numbers(1..2), Some(1), 2).await {
        unavailable::<()>(Err(error));
        waited += 1;
    }
    assert!(waited > 0);
    assert_eq!(progress(&mut writer).await, Some(at(2)));
}

#[tokio::test]
async fn a_server_that_stops_dies_stands_still_and_goes_back_loses_nothing() {
    let mut process = Process::start(Options::default()).unwrap();
    let url = process.url("postgres");
    create(&url, &output(), &number_table()).await.unwrap();
    let sink = Postgres::new(&url, impatient()).unwrap();
    let mut writer = writer(&sink).await;
    commit(&mut writer, &numbers(0..1), None, 1).await.unwrap();

    process.stop().unwrap();
    unavailable(commit(&mut writer, &numbers(1..2), Some(1), 2).await);
    unavailable(commit(&mut writer, &numbers(1..2), Some(1), 2).await);
    process.start_again().unwrap();
    commit(&mut writer, &numbers(1..2), Some(1), 2)
        .await
        .unwrap();

    process.kill().unwrap();
    unavailable(commit(&mut writer, &numbers(2..3), Some(2), 3).await);
    process.start_again().unwrap();
    assert_eq!(progress(&mut writer).await, Some(at(2)));
    commit(&mut writer, &numbers(2..3), Some(2), 3)
        .await
        .unwrap();

    process.pause().unwrap();
    let reason = unavailable(commit(&mut writer, &numbers(3..4), Some(3), 4).await);
    assert_eq!(reason, "no answer within 1 s");
    process.resume().unwrap();
    assert_eq!(progress(&mut writer).await, Some(at(3)));

    let before = process.save().unwrap();
    commit(&mut writer, &numbers(3..9), Some(3), 9)
        .await
        .unwrap();
    process.set_back(&before).unwrap();
    unavailable(commit(&mut writer, &numbers(9..10), Some(9), 10).await);
    let outcome = commit(&mut writer, &numbers(9..10), Some(9), 10).await;
    assert!(
        matches!(&outcome, Err(SinkError::Fenced { found, .. }) if found.starts_with("offset 3 ")),
        "{outcome:?}"
    );
    assert_eq!(progress(&mut writer).await, Some(at(3)));
    commit(&mut writer, &numbers(3..10), Some(3), 10)
        .await
        .unwrap();
    let rows = process.sql(
        "postgres",
        "SELECT count(*), count(DISTINCT n) FROM numbers",
    );
    assert_eq!(rows.unwrap(), "10|10");
}

#[tokio::test]
async fn a_password_that_changed_is_said_without_being_told_and_can_be_replaced() {
    let mut process = Process::start(Options::default()).unwrap();
    let old = process.url("postgres");
    create(&old, &output(), &number_table()).await.unwrap();
    let sink = Postgres::new(&old, Limits::default()).unwrap();
    let mut writer = writer(&sink).await;
    process.set_password("s3cret").unwrap();
    commit(&mut writer, &numbers(0..1), None, 1).await.unwrap();

    process.stop().unwrap();
    process.start_again().unwrap();
    unavailable(commit(&mut writer, &numbers(1..2), Some(1), 2).await);
    let reason = unavailable(commit(&mut writer, &numbers(1..2), Some(1), 2).await);
    assert_eq!(
        reason,
        "password authentication failed for user \"tidewheel\" (SQLSTATE 28P01): check user and password in the connection URL"
    );
    sink.set_url(&process.url("postgres")).unwrap();
    commit(&mut writer, &numbers(1..2), Some(1), 2)
        .await
        .unwrap();
    assert!(!format!("{sink:?}").contains("s3cret"));
}

#[tokio::test]
async fn nobody_who_listens_is_unavailable_at_once() {
    let sink = Postgres::new("postgres://u:secret@127.0.0.1:1/x", Limits::default()).unwrap();
    assert_eq!(sink.health(), Health::Unknown);
    let reason = unavailable(sink.ping().await);
    assert!(
        reason.contains("refused") && !reason.contains("secret"),
        "{reason}"
    );
}
