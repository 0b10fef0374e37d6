//! A pooler in transaction mode: each transaction may be in another session.
use tidewheel_sinks::{
    Change, Sink as _,
    postgres::{Limits, Postgres},
};

use super::proxy::pooler;
use crate::{
    fixture::{
        commit, number_table, numbers, output, progress, task, upsert, window_table, windows,
    },
    server::Server,
};

/// A role that needs no password, which our pooler could not give.
fn let_in(server: &Server) {
    let file = server.sql("SHOW hba_file");
    let rules = std::fs::read_to_string(&file).unwrap();
    if !rules.contains("pooled") {
        let trusted = format!("host all pooled 127.0.0.1/32 trust\n{rules}");
        std::fs::write(&file, trusted).unwrap();
        server.sql("CREATE ROLE pooled SUPERUSER LOGIN");
        server.sql("SELECT pg_reload_conf()");
    }
}

#[tokio::test]
async fn nothing_hangs_on_the_session() {
    let server = Server::shared();
    let_in(&server);
    let port = pooler(server.process.port()).await;
    let url = format!(
        "postgres://pooled@127.0.0.1:{port}/{}?sslmode=disable",
        server.name
    );
    let sink = Postgres::new(&url, Limits::default()).unwrap();
    server.create(&output(), &window_table()).await.unwrap();
    let mut writer = sink
        .writer(&output(), &window_table(), &task(0))
        .await
        .unwrap();
    writer.begin_generation(1, None).await.unwrap();
    for n in 0..6 {
        let change = Change::Windows {
            upserts: windows(&[(0, None, n, 1, n), (n, Some("a"), n, 1, n)]),
            deletes: windows(&[(n - 1, Some("a"), 0, 1, n)]),
        };
        let from = (n > 0).then_some(n);
        commit(&mut writer, &change, from, n + 1).await.unwrap();
        assert_eq!(progress(&mut writer).await.unwrap().next_offset, n + 1);
    }
    assert_eq!(
        server.sql("SELECT string_agg(coalesce(page, '-') || count, ' ' ORDER BY page) FROM kpi"),
        "a5 -5"
    );
    // The sessions were indeed two.
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'pooled' AND datname = current_database() AND query <> ''";
    assert_eq!(server.sql(sessions), "2");
}

#[tokio::test]
async fn what_another_plan_left_in_a_session_is_not_taken_for_ours() {
    let server = Server::shared();
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let sink = Postgres::new(&server.process.url(&server.name), limits).unwrap();
    let narrow = window_table();
    let mut wide = window_table();
    wide.columns.insert(
        2,
        crate::fixture::column("note", tidewheel_planner::plan::ColumnType::Text),
    );
    for (table, offset) in [(&narrow, 1), (&wide, 2), (&narrow, 3)] {
        server.create(&output(), table).await.unwrap();
        let mut writer = sink.writer(&output(), table, &task(0)).await.unwrap();
        writer.begin_generation(1, None).await.unwrap();
        let mut change = upsert(&[(0, None, offset, 1, offset)]);
        if let Change::Windows { upserts, deletes } = &mut change
            && table.columns.len() > 7
        {
            for batch in [upserts, deletes] {
                let mut arrays = batch.columns().to_vec();
                let nulls = vec![None; batch.num_rows()];
                arrays.insert(2, crate::fixture::texts(nulls));
                *batch = crate::fixture::batch(table, arrays);
            }
        }
        let from = (offset > 1).then_some(offset - 1);
        commit(&mut writer, &change, from, offset).await.unwrap();
    }
    assert_eq!(server.sql("SELECT count FROM kpi"), "3");
}

#[tokio::test]
async fn settings_of_the_role_do_not_matter() {
    let server = Server::shared();
    server.create(&output(), &number_table()).await.unwrap();
    let name = &server.name;
    server.sql(&format!(
        "ALTER DATABASE {name} SET default_transaction_isolation = 'serializable';
         ALTER DATABASE {name} SET default_transaction_read_only = on;
         ALTER DATABASE {name} SET standard_conforming_strings = off;
         ALTER DATABASE {name} SET search_path = pg_catalog;
         ALTER DATABASE {name} SET timezone = 'Asia/Kathmandu'"
    ));
    let mut writer = server
        .sink
        .writer(&output(), &number_table(), &task(0))
        .await
        .unwrap();
    writer.begin_generation(1, None).await.unwrap();
    commit(&mut writer, &numbers(0..3), None, 3).await.unwrap();
    commit(&mut writer, &numbers(3..5), Some(3), 5)
        .await
        .unwrap();
    assert_eq!(server.sql("SELECT count(*) FROM public.numbers"), "5");
}
