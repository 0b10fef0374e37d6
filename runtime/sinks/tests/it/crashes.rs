//! Commits that are cut short: dropped, refused by the file, killed.
use std::{
    future::Future,
    io::{BufRead as _, BufReader},
    pin::{Pin, pin},
    process::{Command, Stdio},
    task::{Context, Poll},
};

use tidewheel_sinks::{Progress, Sink as _, SinkError, TaskId, Writer, embedded::Database};

use crate::fixture::{Fixture, at, commit, number_table, numbers, origin, output, progress};

/// Polls a future at most `polls` times; none if it was not ready by then.
struct CutShort<'a, F> {
    future: Pin<&'a mut F>,
    polls: usize,
}

impl<F: Future> Future for CutShort<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            return Poll::Ready(None);
        }
        self.polls -= 1;
        self.future.as_mut().poll(context).map(Some)
    }
}

#[tokio::test]
async fn a_commit_that_is_dropped_anywhere_is_whole_or_nothing() {
    let fixture = Fixture::embedded().await;
    let mut writer = fixture.writer(&number_table()).await;
    let mut stored: Option<i64> = None;
    let mut finished = false;
    let (mut undone, mut done) = (0, 0);
    for polls in 0.. {
        let from = stored.unwrap_or(0);
        {
            let change = numbers(from..from + 700);
            let future =
                pin!(writer.commit(1, &change, stored.map(at), at(from + 700), &[], &origin));
            finished = CutShort { future, polls }
                .await
                .map(|outcome| outcome.unwrap())
                .is_some();
        }
        // The connection is free at once, and not inside of a transaction that nobody ends.
        let progress = progress(&mut writer).await;
        let rows = fixture.database().count(&number_table()).await.unwrap();
        assert_eq!(
            rows as i64,
            progress.map_or(0, |progress| progress.next_offset)
        );
        match progress.map(|progress| progress.next_offset) {
            now if now == stored => undone += 1,
            now => {
                assert_eq!(now, Some(from + 700));
                (stored, done) = (now, done + 1);
            }
        }
        if finished {
            break;
        }
    }
    // How often a commit is polled is the database thread's affair: on a busy machine a few times.
    assert!(
        finished && undone > 0 && done > 0,
        "{undone} undone, {done} done"
    );
}

#[tokio::test]
async fn a_file_that_is_locked_by_another_program_is_unavailable_and_then_works_again() {
    let fixture = Fixture::embedded().await;
    let mut writer = fixture.writer(&number_table()).await;
    commit(&mut writer, &numbers(0..1), None, 1).await.unwrap();
    {
        use sqlx::{ConnectOptions as _, sqlite::SqliteConnectOptions};
        let mut other = SqliteConnectOptions::new()
            .filename(fixture.database().path())
            .connect()
            .await
            .unwrap();
        sqlx::raw_sql("BEGIN IMMEDIATE")
            .execute(&mut other)
            .await
            .unwrap();
        let outcome = commit(&mut writer, &numbers(1..2), Some(1), 2).await;
        assert!(
            matches!(&outcome, Err(SinkError::Unavailable { .. })),
            "{outcome:?}"
        );
        assert_eq!(
            progress(&mut writer).await,
            Some(at(1)),
            "readers do not wait for the lock"
        );
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    }
    commit(&mut writer, &numbers(1..2), Some(1), 2)
        .await
        .unwrap();
    assert_eq!(fixture.rows(&number_table()).await.len(), 2);
}

#[tokio::test]
async fn an_error_that_ends_the_transaction_by_itself_leaves_nothing_behind() {
    let fixture = Fixture::embedded().await;
    let mut writer = fixture.writer(&number_table()).await;
    commit(&mut writer, &numbers(0..1), None, 1).await.unwrap();
    // As a full disk does: the transaction is gone before anybody could roll it back.
    fixture.meddle("CREATE TRIGGER t BEFORE INSERT ON numbers WHEN new.n = 900 BEGIN SELECT RAISE(ROLLBACK, 'no more'); END").await;
    let outcome = commit(&mut writer, &numbers(1..1_000), Some(1), 1_000).await;
    assert!(
        matches!(&outcome, Err(SinkError::Misfit { reason, .. }) if reason.contains("no more")),
        "{outcome:?}"
    );
    assert_eq!(progress(&mut writer).await, Some(at(1)));
    fixture.meddle("DROP TRIGGER t").await;
    commit(&mut writer, &numbers(1..2), Some(1), 2)
        .await
        .unwrap();
    assert_eq!(fixture.rows(&number_table()).await.len(), 2);
}

const FILE: &str = "TIDEWHEEL_TEST_TABLES";
const BATCH: i64 = 3_000;

#[tokio::test]
#[ignore = "is the process that `a_process_that_is_killed_leaves_whole_commits` kills"]
async fn writes_until_it_is_killed() {
    let path = std::env::var(FILE).expect("the file to write");
    let database = Database::open(path).await.unwrap();
    let task = TaskId {
        input: "clicks".to_owned(),
        partition: 0,
    };
    let mut writer: Box<dyn Writer> = database
        .writer(&output(), &number_table(), &task)
        .await
        .unwrap();
    let mut progress = progress(&mut writer).await;
    loop {
        let from = progress.map_or(0, |Progress { next_offset, .. }| next_offset);
        commit(
            &mut writer,
            &numbers(from..from + BATCH),
            progress.map(|progress| progress.next_offset),
            from + BATCH,
        )
        .await
        .unwrap();
        progress = Some(at(from + BATCH));
        println!("committed {}", from + BATCH);
    }
}

#[tokio::test]
async fn a_process_that_is_killed_leaves_whole_commits() {
    let fixture = Fixture::embedded().await;
    drop(fixture.writer(&number_table()).await);
    let mut least = 0;
    for round in 1..=5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "crashes::writes_until_it_is_killed",
                "--ignored",
                "--nocapture",
            ])
            .env(FILE, fixture.database().path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let commits = lines.filter_map(|line| line.strip_prefix("committed ")?.parse::<i64>().ok());
        // Killed while it is busy with the commit after the one it reported.
        least = commits
            .take(round)
            .last()
            .expect("a commit before the child ended")
            .max(least);
        child.kill().unwrap();
        child.wait().unwrap();

        let stored: i64 = fixture
            .number("SELECT next_offset FROM _tidewheel_progress")
            .await;
        assert!(
            stored >= least && stored % BATCH == 0,
            "{stored} stored, {least} reported"
        );
        assert_eq!(
            fixture
                .number("SELECT count(DISTINCT n) FROM numbers")
                .await,
            stored
        );
        assert_eq!(fixture.number("SELECT count(*) FROM numbers").await, stored);
        let intact = "SELECT integrity_check = 'ok' FROM pragma_integrity_check";
        assert_eq!(fixture.number(intact).await, 1);
    }
}
