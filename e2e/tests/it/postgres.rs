//! A database server that can be stopped, killed, held, set back, and reached by TLS.
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tidewheel_e2e::postgres::{Options, Postgres};

fn count(postgres: &Postgres) -> String {
    postgres.sql("postgres", "SELECT count(*) FROM t").unwrap()
}

#[test]
fn a_server_keeps_its_data_and_port_when_it_is_stopped_killed_held_and_set_back() {
    let mut postgres = Postgres::start(Options::default()).unwrap();
    let port = postgres.port();
    let insert = "INSERT INTO t VALUES (1)";
    postgres.sql("postgres", "CREATE TABLE t (n int)").unwrap();
    postgres.sql("postgres", insert).unwrap();
    postgres.stop().unwrap();
    postgres.sql("postgres", insert).unwrap_err();
    postgres.start_again().unwrap();
    postgres.sql("postgres", insert).unwrap();
    postgres.kill().unwrap();
    postgres.start_again().unwrap();
    assert_eq!(count(&postgres), "2");

    let before = postgres.save().unwrap();
    postgres.sql("postgres", insert).unwrap();
    assert_eq!(count(&postgres), "3");
    postgres.set_back(&before).unwrap();
    assert_eq!((count(&postgres).as_str(), postgres.port()), ("2", port));

    postgres.pause().unwrap();
    postgres.sql("postgres", "SELECT 1").unwrap_err();
    postgres.resume().unwrap();
    assert_eq!(count(&postgres), "2");
}

#[test]
fn a_new_password_replaces_the_old_one_in_the_url() {
    let mut postgres = Postgres::start(Options::default()).unwrap();
    let old = postgres.url("postgres");
    assert!(old.contains("battery%40staple%2F%25@127.0.0.1"), "{old}");
    postgres.set_password("it's another").unwrap();
    assert!(postgres.url("postgres").contains(":it%27s%20another@"));
    assert_eq!(postgres.sql("postgres", "SELECT 1").unwrap(), "1");
}

#[test]
fn databases_of_the_shared_server_are_apart() {
    let postgres = Postgres::shared().unwrap();
    let (one, other) = (postgres.database().unwrap(), postgres.database().unwrap());
    postgres.sql(&one, "CREATE TABLE t (n int)").unwrap();
    postgres.sql(&other, "SELECT * FROM t").unwrap_err();
}

#[test]
fn a_refusal_says_what_was_asked_and_why() {
    let postgres = Postgres::shared().unwrap();
    let error = postgres.sql("postgres", "SELECT 1/0").unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("SELECT 1/0") && text.contains("division by zero"),
        "{text}"
    );
}

#[test]
#[ignore = "is the process that `nothing_is_left_of_a_process_that_is_killed` kills"]
fn starts_a_server_and_waits() {
    let postgres = Postgres::start(Options::default()).unwrap();
    let folder = postgres.sql("postgres", "SHOW data_directory").unwrap();
    println!("port {} {folder}", postgres.port());
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn nothing_is_left_of_a_process_that_is_killed() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "postgres::starts_a_server_and_waits"])
        .args(["--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = said
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("port ")?.1.to_owned()))
        .expect("a server that was started");
    let (port, data) = line.split_once(' ').unwrap();
    let address = format!("127.0.0.1:{port}");
    std::net::TcpStream::connect(&address).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();

    let folder = Path::new(data).parent().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while folder.exists() {
        assert!(
            Instant::now() < deadline,
            "{} is still there",
            folder.display()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    std::net::TcpStream::connect(&address).unwrap_err();
}
