//! Connections that end, or stand still, at the worst moments.
use tidewheel_sinks::{
    Sink as _, SinkError, Writer,
    postgres::{Limits, Postgres},
};

use super::proxy::{Fault, Proxy};
use crate::{
    fixture::{at, commit, number_table, numbers, output, progress, task, upsert, window_table},
    server::Server,
};

/// A database that is reached through a proxy.
async fn behind_a_proxy() -> (Server, Proxy, Postgres) {
    let server = Server::shared();
    let proxy = Proxy::start(server.process.port()).await;
    let url = server.process.url_at("127.0.0.1", proxy.port, &server.name);
    let sink = Postgres::new(&format!("{url}?sslmode=disable"), Limits::default()).unwrap();
    (server, proxy, sink)
}

fn unavailable<T: std::fmt::Debug>(outcome: Result<T, SinkError>) -> String {
    match outcome {
        Err(SinkError::Unavailable { reason, .. }) => reason,
        other => panic!("not unavailable: {other:?}"),
    }
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_read_back() {
    let (server, proxy, sink) = behind_a_proxy().await;
    server.create(&output(), &number_table()).await.unwrap();
    let mut writer = sink
        .writer(&output(), &number_table(), &task(0))
        .await
        .unwrap();
    writer.begin_generation(1, None).await.unwrap();
    proxy.inject(Fault::CutAfter("COMMIT\0"));
    unavailable(commit(&mut writer, &numbers(0..3), None, 3).await);
    assert!(proxy.met());
    assert_eq!(progress(&mut writer).await, Some(at(3)));
    commit(&mut writer, &numbers(3..5), Some(3), 5)
        .await
        .unwrap();
    assert_eq!(server.sql("SELECT count(*), max(n) FROM numbers"), "5|4");
}

#[tokio::test]
async fn a_commit_that_never_arrived_is_done_once_more() {
    let (server, proxy, sink) = behind_a_proxy().await;
    server.create(&output(), &window_table()).await.unwrap();
    let mut writer = sink
        .writer(&output(), &window_table(), &task(0))
        .await
        .unwrap();
    writer.begin_generation(1, None).await.unwrap();
    for lost in [
        "BEGIN",
        "COPY",
        "PGCOPY",
        "INSERT INTO public._tidewheel_progress",
        "COMMIT\0",
    ] {
        proxy.inject(Fault::CutBefore(lost));
        unavailable(commit(&mut writer, &upsert(&[(0, None, 1, 1, 1)]), None, 1).await);
        assert!(proxy.met(), "{lost}");
        assert_eq!(progress(&mut writer).await, None, "{lost}");
        assert_eq!(server.sql("SELECT count(*) FROM kpi"), "0", "{lost}");
    }
    commit(&mut writer, &upsert(&[(0, None, 1, 1, 1)]), None, 1)
        .await
        .unwrap();
    assert_eq!(server.sql("SELECT count FROM kpi"), "1");
}

#[tokio::test]
async fn a_zombie_that_stands_still_anywhere_holds_up_nobody_and_cannot_write_afterwards() {
    let (server, proxy, sink) = behind_a_proxy().await;
    server.create(&output(), &window_table()).await.unwrap();
    let open = async |sink: &Postgres| -> Box<dyn Writer> {
        let mut writer = sink
            .writer(&output(), &window_table(), &task(0))
            .await
            .unwrap();
        writer.begin_generation(1, None).await.unwrap();
        writer
    };
    let mut heir = open(&server.sink).await;
    let row = |n: i64| upsert(&[(0, Some("a"), n, 1, n)]);
    commit(&mut heir, &row(1), None, 1).await.unwrap();
    let stops = [
        "BEGIN",
        "COPY",
        "PGCOPY",
        "UPDATE public._tidewheel_progress",
    ];
    for (from, stop) in (1..).zip(stops) {
        let mut zombie = open(&sink).await;
        proxy.inject(Fault::Hold(stop));
        let theirs = tokio::spawn(async move {
            let change = upsert(&[(0, Some("a"), 999, 1, 999)]);
            commit(&mut zombie, &change, Some(from), 999).await
        });
        while !proxy.met() {
            tokio::task::yield_now().await;
        }
        commit(&mut heir, &row(from + 1), Some(from), from + 1)
            .await
            .unwrap();
        proxy.go_on();
        let outcome = theirs.await.unwrap();
        assert!(
            matches!(&outcome, Err(SinkError::Fenced { .. })),
            "{stop}: {outcome:?}"
        );
    }
    assert_eq!(server.sql("SELECT count FROM kpi"), "5");
}
