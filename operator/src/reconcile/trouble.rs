//! Why the pods of a Deployment do not become available, or do not stay it. Pure.
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

/// How often a container must have ended to end again and again. Once or twice it may have been somebody else's fault, which is over.
const ENDS: i32 = 3;
/// For how long after its last end: the cluster waits five minutes at most before it starts it again.
const ENDED_WITHIN: Duration = Duration::from_secs(15 * 60);

/// Why pods of a Deployment are not available, as far as that is known by now: as the Deployment says, or its pods.
pub(super) fn trouble(deployment: &Value, pods: &[Arc<Pod>], now: Timestamp) -> Option<String> {
    failed_rollout(deployment)
        .or_else(|| pods.iter().find_map(|pod| ending(pod, now)))
        .or_else(|| unavailable_for_long(deployment, now))
}

fn condition<'a>(deployment: &'a Value, type_: &str, status: &str) -> Option<&'a Value> {
    let conditions = deployment.pointer("/status/conditions")?.as_array()?;
    let mut conditions = conditions.iter();
    conditions.find(|condition| condition["type"] == type_ && condition["status"] == status)
}

fn failed_rollout(deployment: &Value) -> Option<String> {
    let failed = condition(deployment, "ReplicaFailure", "True")
        .or_else(|| condition(deployment, "Progressing", "False"));
    Some(failed?["message"].as_str()?.to_owned())
}

/// After a rollout the Deployment never says that it fails, only since when pods are missing.
fn unavailable_for_long(deployment: &Value, now: Timestamp) -> Option<String> {
    let condition = condition(deployment, "Available", "False")?;
    let since: Timestamp = condition["lastTransitionTime"].as_str()?.parse().ok()?;
    let deadline = deployment
        .pointer("/spec/progressDeadlineSeconds")?
        .as_u64()?;
    (elapsed(since, now) > Duration::from_secs(deadline))
        .then(|| format!("pods have been missing for more than {deadline} s"))
}

/// How a container of a pod ends again and again.
fn ending(pod: &Pod, now: Timestamp) -> Option<String> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    let (container, ended) = containers
        .iter()
        .find_map(|container| Some((container, ended(container, now)?)))?;
    Some(format!(
        "the container `{}` of pod {} has ended {} times, last with exit code {}",
        container.name,
        pod.metadata.name.as_deref().unwrap_or_default(),
        container.restart_count,
        ended.exit_code
    ))
}

fn ended(container: &ContainerStatus, now: Timestamp) -> Option<&ContainerStateTerminated> {
    let ended = container.last_state.as_ref()?.terminated.as_ref()?;
    let at = ended.finished_at.as_ref()?.0;
    let is_recent = elapsed(at, now) < ENDED_WITHIN;
    (!container.ready && container.restart_count >= ENDS && is_recent).then_some(ended)
}

/// None where it is in the future.
fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(since).try_into().unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn deployment(type_: &str, status: &str) -> Value {
        json!({
            "spec": {"progressDeadlineSeconds": 180},
            "status": {"conditions": [{"type": type_, "status": status, "message": "no", "lastTransitionTime": "1970-01-01T00:01:40Z"}]},
        })
    }

    fn pod(restarts: i32, is_ready: bool) -> [Arc<Pod>; 1] {
        let ended = json!({"exitCode": 101, "finishedAt": "1970-01-01T00:01:40Z"});
        let pod = json!({
            "metadata": {"name": "kpis-worker-1"},
            "status": {"containerStatuses": [{
                "name": "worker", "image": "", "imageID": "", "ready": is_ready, "restartCount": restarts,
                "lastState": {"terminated": ended},
            }]},
        });
        [Arc::new(serde_json::from_value(pod).unwrap())]
    }

    #[test]
    fn a_rollout_that_failed_is_trouble_at_once() {
        for (type_, status) in [("Progressing", "False"), ("ReplicaFailure", "True")] {
            assert_eq!(
                trouble(&deployment(type_, status), &[], at(0)),
                Some("no".to_owned())
            );
        }
        assert_eq!(
            trouble(&deployment("Progressing", "True"), &[], at(9_999)),
            None
        );
    }

    #[test]
    fn pods_that_are_missing_after_a_rollout_are_trouble_in_the_end() {
        let missing = deployment("Available", "False");
        assert_eq!(trouble(&missing, &[], at(280)), None);
        let trouble_said = trouble(&missing, &[], at(281)).unwrap();
        assert!(trouble_said.contains("180 s"), "{trouble_said}");
        assert_eq!(
            trouble(&deployment("Available", "True"), &[], at(281)),
            None
        );
    }

    #[test]
    fn a_container_that_ends_again_and_again_is_trouble_before_that() {
        let fine = deployment("Available", "True");
        let said = trouble(&fine, &pod(3, false), at(200)).unwrap();
        let expected = "the container `worker` of pod kpis-worker-1 has ended 3 times, last with exit code 101";
        assert_eq!(said, expected);
        assert_eq!(trouble(&fine, &pod(2, false), at(200)), None);
        assert_eq!(trouble(&fine, &pod(3, true), at(200)), None);
        // It ended long ago, and is not ready for another reason.
        assert_eq!(trouble(&fine, &pod(3, false), at(100 + 15 * 60)), None);
    }
}
