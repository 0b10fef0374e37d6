//! TLS and SASL.
use tidewheel_e2e::kafka::Options;
use tidewheel_log::{Assignment, Log, LogError};

use crate::setup::{OnKafka, own_broker, record};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_works_over_tls_with_the_right_password_only() {
    let kafka = own_broker(Options {
        secure: true,
        ..Options::default()
    })
    .await;
    let secure = kafka.secure().unwrap();
    let with = |password: &str| {
        OnKafka::with(
            [
                ("bootstrap.servers", secure.bootstrap.as_str()),
                ("security.protocol", "SASL_SSL"),
                ("sasl.mechanism", "SCRAM-SHA-512"),
                ("sasl.username", secure.user),
                ("sasl.password", password),
                ("ssl.ca.pem", &secure.certificate_pem),
            ],
            kafka.bootstrap(),
        )
    };
    let subject = with(secure.password);
    let a = subject.topic(1).await;
    let mut producer = subject.log.producer("task").await.unwrap();
    producer
        .commit(vec![record(&a, 0, "k", "1")])
        .await
        .unwrap();
    subject
        .log
        .append(vec![record(&a, 0, "k", "2")])
        .await
        .unwrap();
    assert_eq!(subject.values(&a, 0).await, ["1", "2"]);
    let mut member = subject.log.join("group", &a).await.unwrap();
    assert_eq!(member.next().await.unwrap(), Assignment::Assigned(vec![0]));
    member.leave().await.unwrap();
    subject.log.delete_below(&a, 0, 1).await.unwrap();

    let guess = "hunter2";
    let intruder = with(guess);
    let refused = intruder.log.topic(&a).await.unwrap_err();
    let LogError::Unavailable { reason } = &refused else {
        panic!("{refused}");
    };
    assert!(reason.contains("uthentication"), "{reason}");
    assert!(!reason.contains(guess) && !reason.contains(secure.password));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let kafka = own_broker(Options {
        secure: true,
        ..Options::default()
    })
    .await;
    let secure = kafka.secure().unwrap();
    let trusting_others = OnKafka::with(
        [
            ("bootstrap.servers", secure.bootstrap.as_str()),
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", secure.user),
            ("sasl.password", secure.password),
        ],
        kafka.bootstrap(),
    );
    let refused = trusting_others.log.topic("a").await.unwrap_err();
    assert!(
        matches!(&refused, LogError::Unavailable { reason } if reason.contains("certificate")),
        "{refused}"
    );
}
