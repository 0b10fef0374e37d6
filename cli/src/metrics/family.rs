//! Metrics that are made when they are asked for, so that what is gone is no longer shown.
use std::collections::HashMap;

use prometheus::core::Desc;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};
use tidewheel_worker::Durations;

/// A metric as it is declared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Declared {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) kind: MetricType,
    pub(crate) labels: &'static [&'static str],
}

impl Declared {
    pub(crate) fn desc(&self) -> prometheus::Result<Desc> {
        let labels = self.labels.iter().map(|&label| label.to_owned()).collect();
        Desc::new(
            self.name.to_owned(),
            self.help.to_owned(),
            labels,
            HashMap::new(),
        )
    }

    /// The metric with these series.
    pub(crate) fn family(&self, series: Vec<Metric>) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(series);
        family
    }

    /// A series of a counter or a gauge.
    pub(crate) fn value(&self, labels: &[&str], value: f64) -> Metric {
        let mut series = self.labelled(labels);
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            series.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            series.set_gauge(gauge);
        }
        series
    }

    /// A series of a histogram, in seconds.
    pub(crate) fn histogram(&self, labels: &[&str], durations: &Durations) -> Metric {
        let bucket = |(bound_ms, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(seconds(bound_ms));
            bucket.set_cumulative_count(count);
            bucket
        };
        let mut histogram = Histogram::default();
        histogram.set_bucket(durations.cumulative().map(bucket).collect());
        histogram.set_sample_count(durations.count());
        histogram.set_sample_sum(seconds(durations.sum_ms()));
        let mut series = self.labelled(labels);
        series.set_histogram(histogram);
        series
    }

    fn labelled(&self, values: &[&str]) -> Metric {
        let pair = |(&name, &value): (&&str, &&str)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value.to_owned());
            pair
        };
        let mut series = Metric::default();
        series.set_label(self.labels.iter().zip(values).map(pair).collect());
        series
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}
