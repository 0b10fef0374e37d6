//! Dead letters of workers on Kafka, sent again.
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::program::{Ended, command, root, run};
use crate::roles::ground::Ground;

/// How many of the events cannot be computed at first.
const BROKEN: usize = 40;
/// How often a sender may find Kafka too busy.
const ATTEMPTS: usize = 5;

async fn post(address: &str, events: &[String]) {
    let request = reqwest::Client::new()
        .post(format!("{address}/v1/events"))
        .header("Content-Type", "application/x-ndjson")
        .body(events.join("\n"));
    assert_eq!(request.send().await.unwrap().status(), 202);
}

fn letters(ground: &Ground, command: &str, more: &[&str]) -> Ended {
    let kafka = ground.path("kafka");
    let args = [
        "dead-letters",
        command,
        "letters/kpis",
        "--kafka",
        &kafka,
        "-o",
        "json",
    ];
    run(&[&args, more].concat())
}

/// Whether Kafka did not answer a sender in time, as on a busy machine: what was sent of its last batch it cannot say.
fn is_interrupted(sender: &Ended) -> bool {
    let is = sender.code != 0 && sender.stderr.contains("the log is unavailable");
    if is {
        println!("a sender was interrupted: {}", sender.stderr);
    }
    is
}

/// Sends what is due to its end, and whether that took one attempt.
fn send_rest(ground: &Ground) -> (Ended, bool) {
    for attempt in 1.. {
        let ended = letters(ground, "resend", &["--all"]);
        if attempt == ATTEMPTS || !is_interrupted(&ended) {
            assert_eq!(ended.code, 0, "{}", ended.stderr);
            return (ended, attempt == 1);
        }
    }
    unreachable!("the last attempt is judged")
}

/// How many letters a run has sent, and how many had been sent before.
fn sent(ended: &Ended) -> [usize; 2] {
    let letters: Vec<Value> = serde_json::from_str(&ended.stdout).unwrap_or_default();
    let count = |outcome: &str| {
        let of = letters.iter().filter(|letter| letter["outcome"] == outcome);
        of.count()
    };
    [count("sent"), count("sentBefore")]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_workers_could_not_compute_is_sent_again_once_however_many_try() {
    let specs = root().join("cli/tests/it/specs/letters");
    let ground = Ground::new(&specs, "letters");
    let made = ground.provision();
    assert_eq!(made.code, 0, "{}", made.stderr);
    let worker = |pipeline: &str| ground.role("worker", &["--pipeline", pipeline]);
    let (kpis, others) = (worker("letters/kpis"), worker("letters/others"));
    let ingest = ground.role("ingest", &["--listen", "127.0.0.1:0"]);
    ingest.ready().await;
    let address = ingest.events();
    let event = |n: usize| {
        let items = usize::from(n >= BROKEN);
        json!({"ts": "2026-01-01T00:00:00Z", "page": "/", "items": items}).to_string()
    };
    let events: Vec<String> = (0..BROKEN * 2).map(event).collect();
    post(&address, &events).await;
    let (all, good) = ((BROKEN * 2).to_string(), BROKEN.to_string());
    ground.until("SELECT count(*) FROM clicks_once", &all).await;
    ground.until("SELECT count(*) FROM ids", &all).await;
    ground.until("SELECT count(*) FROM shares", &good).await;

    let groups: Value = letters(&ground, "reasons", &[]).document();
    assert_eq!(groups.as_array().unwrap().len(), 1);
    assert_eq!(
        (&groups[0]["reason"], &groups[0]["step"]),
        (&json!("Evaluation"), &json!("numbers"))
    );
    assert_eq!(groups[0]["count"], BROKEN);
    let first = letters(&ground, "list", &["--limit", "1"]).document();
    let shown = letters(&ground, "show", &[&first[0]["offset"].to_string()]).document();
    assert!(
        shown["value"].as_str().unwrap().contains("\"items\":0"),
        "{shown}"
    );

    // Mended, and sent by four people at once, while workers of the old plan and the new one read.
    let file = ground.path("specs/letters.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("100 / items", "100 / (items + 1)")).unwrap();
    let made = ground.provision();
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert_eq!(kpis.stop(), 0);
    let kpis = worker("letters/kpis");
    // Some begin with the first half and die, at whatever they are just at.
    let list = letters(&ground, "list", &["--limit", "1000"]).document();
    let middle = list[BROKEN / 2]["offset"].to_string();
    for ms in [20, 60, 100, 140, 180, 220, 260, 300] {
        let kafka = ground.path("kafka");
        let args = [
            "dead-letters",
            "resend",
            "letters/kpis",
            "--kafka",
            &kafka,
            "--to",
            &middle,
        ];
        let mut child = command(&args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(ms)).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let people = thread::scope(|scope| {
        let person = || letters(&ground, "resend", &["--all"]);
        let people = [(); 4].map(|()| scope.spawn(person));
        people.map(|person| person.join().unwrap())
    });
    for person in &people {
        let is_fenced = person.stderr.contains("somebody else has begun");
        let is_right = person.code == 0 || is_fenced || is_interrupted(person);
        assert!(is_right, "{}", person.stderr);
    }
    let (last, at_once) = send_rest(&ground);
    let by_people: usize = people.iter().map(|person| sent(person)[0]).sum();
    let by_all = by_people + sent(&last)[0];
    // Those who were interrupted do not count what they may have sent.
    let all_counted = at_once && !people.iter().any(is_interrupted);
    let second_half = BROKEN - BROKEN / 2 - 1;
    let least = if all_counted { second_half } else { 0 };
    assert!((least..=BROKEN).contains(&by_all), "{by_all}");
    let (after, _) = send_rest(&ground);
    let (sent, said) = (sent(&after), after.stderr);
    assert_eq!(sent, [0, BROKEN], "{said}");

    ground.until("SELECT count(*) FROM shares", &all).await;
    post(&address, &[event(BROKEN)]).await;
    let with_last = (BROKEN * 2 + 1).to_string();
    ground
        .until("SELECT count(*) FROM shares", &with_last)
        .await;
    ground.until("SELECT count(*) FROM ids", &with_last).await;
    ground
        .until("SELECT count(*) FROM clicks_once", &with_last)
        .await;
    for (role, output) in [(&kpis, "clicks_once"), (&others, "ids")] {
        let (_, metrics) = role.get("/metrics").await;
        let is_of = |line: &&str| {
            line.starts_with("tidewheel_output_fates_total")
                && line.contains(&format!("name=\"{output}\""))
                && line.contains("fate=\"skipped\"")
        };
        let skipped = metrics.lines().filter(is_of);
        let skipped =
            skipped.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap());
        assert_eq!(skipped.sum::<usize>(), BROKEN, "{metrics}");
    }
    assert_eq!([ingest.stop(), kpis.stop(), others.stop()], [0, 0, 0]);
}
