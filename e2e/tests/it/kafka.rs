//! A broker that can be stopped, killed, held, and reached securely.
use std::time::Duration;

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    message::Message,
    producer::{BaseProducer, BaseRecord, Producer},
};
use tidewheel_e2e::kafka::{Kafka, Options};

const WAIT: Duration = Duration::from_secs(30);

fn plain(kafka: &Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap());
    config
}

fn make_topic(config: &ClientConfig) {
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let topic = NewTopic::new("a", 1, TopicReplication::Fixed(1));
    let options = AdminOptions::new().operation_timeout(Some(WAIT));
    let made = wait_for(admin.create_topics([&topic], &options));
    made.unwrap()[0].as_ref().unwrap();
}

/// Waits for a future that another thread completes.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::park();
    }
}

fn send(config: &ClientConfig, value: &str) {
    let producer: BaseProducer = config.create().unwrap();
    let record = BaseRecord::<(), str>::to("a").payload(value);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(WAIT).unwrap();
}

fn read(config: &ClientConfig, count: usize) -> Vec<String> {
    let consumer: BaseConsumer = config.clone().set("group.id", "g").create().unwrap();
    let mut at = TopicPartitionList::new();
    at.add_partition_offset("a", 0, Offset::Beginning).unwrap();
    consumer.assign(&at).unwrap();
    let text = |_| {
        let message = consumer.poll(WAIT).unwrap().unwrap();
        String::from_utf8(message.payload().unwrap().to_vec()).unwrap()
    };
    (0..count).map(text).collect()
}

#[test]
fn a_broker_keeps_its_data_and_address_when_it_is_stopped_killed_and_held() {
    let mut kafka = Kafka::start(Options::default()).unwrap();
    let config = plain(&kafka);
    make_topic(&config);
    send(&config, "first");
    kafka.stop().unwrap();
    kafka.start_again().unwrap();
    send(&config, "second");
    kafka.kill().unwrap();
    kafka.start_again().unwrap();
    assert_eq!(read(&config, 2), ["first", "second"]);

    kafka.pause().unwrap();
    let client: BaseConsumer = config.create().unwrap();
    let silent = client.fetch_metadata(Some("a"), Duration::from_secs(1));
    assert!(silent.is_err());
    kafka.resume().unwrap();
    client.fetch_metadata(Some("a"), WAIT).unwrap();
}

#[test]
fn a_secure_listener_takes_the_right_password_only() {
    let kafka = Kafka::start(Options {
        secure: true,
        ..Options::default()
    })
    .unwrap();
    make_topic(&plain(&kafka));
    let secure = kafka.secure().unwrap();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &secure.bootstrap)
        .set("security.protocol", "SASL_SSL")
        .set("sasl.mechanism", "SCRAM-SHA-512")
        .set("sasl.username", secure.user)
        .set("sasl.password", secure.password)
        .set("ssl.ca.pem", &secure.certificate_pem);
    send(&config, "secret");
    assert_eq!(read(&config, 1), ["secret"]);

    let intruder: BaseConsumer = config.set("sasl.password", "guessed").create().unwrap();
    let refused = intruder.fetch_metadata(Some("a"), Duration::from_secs(3));
    assert!(refused.is_err());
}
