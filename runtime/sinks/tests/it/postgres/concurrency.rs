//! Tasks that do the same at the same time.
use std::time::Duration;

use futures::future::join_all;
use tidewheel_sinks::{Change, Sink as _, SinkError};

use crate::{
    fixture::{Fixture, at, commit, number_table, numbers, origin, output, upsert, window_table},
    server::Server,
};

fn server(fixture: &Fixture) -> &Server {
    match fixture {
        Fixture::Postgres(server) => server,
        Fixture::Embedded { .. } => panic!("a test of PostgreSQL alone"),
    }
}

#[tokio::test]
async fn tasks_that_begin_a_generation_together_all_write_in_it() {
    let fixture = Fixture::postgres();
    fixture.create(&output(), &number_table()).await.unwrap();
    let tasks = (0..12).map(|partition| {
        let fixture = &fixture;
        async move {
            let mut writer = fixture.second_writer(&number_table(), partition).await;
            writer.begin_generation(3, None).await.unwrap();
            for n in 0..10 {
                let change = Change::Nothing;
                let change = if n % 2 == 0 {
                    numbers(n..n + 1)
                } else {
                    change
                };
                let expected = (n > 0).then(|| at(n));
                writer
                    .commit(3, &change, expected, at(n + 1), &[], &origin)
                    .await
                    .unwrap();
            }
        }
    });
    join_all(tasks).await;
    assert_eq!(server(&fixture).sql("SELECT count(*) FROM numbers"), "60");
    let progress = "SELECT count(*), min(next_offset), min(generation) FROM _tidewheel_progress";
    assert_eq!(server(&fixture).sql(progress), "12|10|3");
}

#[tokio::test]
async fn a_generation_that_begins_amid_commits_leaves_nothing_of_the_old_one() {
    let fixture = Fixture::postgres();
    let mut old = Vec::new();
    for partition in 0..4 {
        fixture.create(&output(), &window_table()).await.unwrap();
        let mut writer = fixture.second_writer(&window_table(), partition).await;
        writer.begin_generation(1, None).await.unwrap();
        old.push(writer);
    }
    let writers = old
        .into_iter()
        .zip(0..)
        .map(|(mut writer, partition)| async move {
            let page = format!("page {partition}");
            for n in 0.. {
                let change = upsert(&[(n, Some(&page), n, 1, n), (0, Some(&page), n, 1, n)]);
                let from = (n > 0).then_some(n);
                match commit(&mut writer, &change, from, n + 1).await {
                    Ok(_) => {}
                    Err(SinkError::Fenced { .. }) => return n,
                    Err(other) => panic!("{other}"),
                }
            }
            unreachable!("it was never fenced")
        });
    let begin = async {
        while fixture.count(&window_table()).await < 40 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut new = fixture.second_writer(&window_table(), 0).await;
        new.begin_generation(2, Some(0)).await.unwrap();
        new
    };
    let (commits, mut new) = futures::join!(join_all(writers), begin);
    assert!(commits.iter().sum::<i64>() >= 36);
    assert_eq!(fixture.count(&window_table()).await, 0);
    assert_eq!(new.last_commit().await.unwrap(), None);
}

#[tokio::test]
async fn more_tasks_than_connections_take_turns() {
    let server = Server::shared();
    server.create(&output(), &number_table()).await.unwrap();
    let limits = tidewheel_sinks::postgres::Limits {
        connections: 2,
        ..Default::default()
    };
    let url = server.process.url(&server.name);
    let sink = tidewheel_sinks::postgres::Postgres::new(&url, limits).unwrap();
    let tasks = (0..20).map(|partition| {
        let sink = &sink;
        async move {
            let task = crate::fixture::task(partition);
            let mut writer = sink
                .writer(&output(), &number_table(), &task)
                .await
                .unwrap();
            writer.begin_generation(1, None).await.unwrap();
            commit(&mut writer, &numbers(0..5), None, 5).await.unwrap();
        }
    });
    join_all(tasks).await;
    assert_eq!(server.sql("SELECT count(*) FROM numbers"), "100");
    let connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tidewheel' AND datname = current_database()";
    assert_eq!(server.sql(connections), "2");
}
