//! Values that make no sense are refused, with what is wrong about them.
use super::chart;
use crate::cluster::shared;

#[test]
fn values_that_make_no_sense_are_refused_and_named() {
    let cases = [
        ("replicas=1", "additional properties 'replicas' not allowed"),
        (
            "operator.replicas=-1",
            "at '/operator/replicas': minimum: got -1, want 0",
        ),
        (
            "operator.replicas=two",
            "at '/operator/replicas': got string, want integer",
        ),
        (
            "image.pullPolicy=Sometimes",
            "value must be one of 'Always', 'IfNotPresent', 'Never'",
        ),
        (
            "image.digest=sha256:1",
            "at '/image/digest': 'sha256:1' does not match",
        ),
        (
            "image.repository=registry.example/tidewheel:1",
            "image.repository is without a tag or a digest, which have image.tag and image.digest",
        ),
        (
            "image.repository=",
            "image.repository is needed: the place of an image",
        ),
        (
            "imagePullSecrets[0]=registry",
            "at '/imagePullSecrets/0': got string, want object",
        ),
        (
            "kafka.bootstrapServers=kafka",
            "at '/kafka/bootstrapServers': 'kafka' does not match",
        ),
        (
            "kafka.secretName=",
            "at '/kafka/secretName': minLength: got 0, want 1",
        ),
        (
            "watchNamespaces={Shop}",
            "at '/watchNamespaces/0': 'Shop' does not match",
        ),
        (
            "watchNamespaces={shop,shop}",
            "at '/watchNamespaces': items at 0 and 1 are equal",
        ),
        (
            "watchNamespaces=shop",
            "at '/watchNamespaces': got string, want array",
        ),
        (
            r"operator.podLabels.app\.kubernetes\.io/name=mine",
            "invalid propertyName 'app.kubernetes.io/name'",
        ),
        (
            "operator.podLabels.team=a b",
            "at '/operator/podLabels/team': 'a b' does not match",
        ),
        (
            "operator.resources.limits.memory=1 GB",
            "at '/operator/resources/limits/memory'",
        ),
        (
            "operator.resources.limit.memory=1Gi",
            "additional properties 'limit' not allowed",
        ),
        (
            "operator.tolerations[0].efect=NoSchedule",
            "additional properties 'efect' not allowed",
        ),
        (
            "operator.affinity.nodeAfinity=x",
            "additional properties 'nodeAfinity' not allowed",
        ),
        (
            "workloads.serve.resources=x",
            "additional properties 'serve' not allowed",
        ),
        (
            "monitoring.enabled=auto",
            "at '/monitoring/enabled': got string, want boolean",
        ),
        (
            "monitoring.interval=5m",
            "at '/monitoring/interval': '5m' does not match",
        ),
        (
            "monitoring.labels.release=a b",
            "at '/monitoring/labels/release': 'a b' does not match",
        ),
        (
            "monitoring.runbooks=",
            "at '/monitoring/runbooks': '' does not match",
        ),
        (
            "monitoring.serviceMonitor=true",
            "additional properties 'serviceMonitor' not allowed",
        ),
        (
            "workloads.worker.replicas=2",
            "additional properties 'replicas' not allowed",
        ),
        (
            "image.repository=my registry/tidewheel",
            "at '/image/repository': 'my registry/tidewheel' does not match",
        ),
        (
            "image.repository=registry.example/Tidewheel",
            "at '/image/repository': 'registry.example/Tidewheel' does not match",
        ),
        (
            "image.repository=https://registry.example/tidewheel",
            "at '/image/repository': 'https://registry.example/tidewheel' does not match",
        ),
        // A null takes a default away.
        ("image=null", "missing property 'image'"),
        ("image.pullPolicy=null", "missing property 'pullPolicy'"),
        (
            "imagePullSecrets=null",
            "missing property 'imagePullSecrets'",
        ),
        ("kafka=null", "missing property 'kafka'"),
        ("kafka.secretName=null", "missing property 'secretName'"),
        ("monitoring=null", "missing property 'monitoring'"),
        ("operator=null", "missing property 'operator'"),
        ("operator.log=null", "missing property 'log'"),
        ("operator.podLabels=null", "missing property 'podLabels'"),
        (
            "operator.serviceAccount=null",
            "missing property 'serviceAccount'",
        ),
        ("workloads=null", "missing property 'workloads'"),
        ("workloads.podLabels.a b=c", "invalid propertyName 'a b'"),
        (
            "workloads.podAnnotations.a b=c",
            "invalid propertyName 'a b'",
        ),
        ("workloads.nodeSelector.a b=c", "invalid propertyName 'a b'"),
        (
            r"operator.podAnnotations.tidewheel\.dev/workloads=mine",
            "invalid propertyName 'tidewheel.dev/workloads'",
        ),
        (
            "workloads.worker.resources.requests.cpus=1",
            "invalid propertyName 'cpus'",
        ),
    ];
    let chart = chart("tidewheel");
    for (values, expected) in cases {
        let arguments = [
            "template",
            "tidewheel",
            &chart,
            "--set=image.repository=registry.example/tidewheel",
            "--set",
            values,
        ];
        let said = shared().run_helm(&arguments).expect_err(values).to_string();
        assert!(said.contains(expected), "{values}: {said}");
    }
}
