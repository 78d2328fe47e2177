//! Two replicas: the one that holds the Lease acts, and the other follows it, however it ends.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    edits::Edits,
    node::Process,
    stage::{NAME, Stage},
};

async fn holding(stage: &Stage, holder: &str) -> Value {
    let pods = stage.pods().await;
    let holds = |pod: &&Value| holder.starts_with(&format!("{}_", pod["metadata"]["name"].as_str().unwrap()));
    pods.iter().find(holds).unwrap_or_else(|| panic!("the holder {holder:?} names none of the pods {pods:#?}")).clone()
}

#[tokio::test]
#[ignore = "needs a node of its own: make e2e"]
async fn of_two_replicas_one_acts_and_the_other_takes_over_when_it_is_deleted_or_killed() {
    Stage::play(async |stage| {
        stage.install(&json!({"replicaCount": 2})).await;
        let edits = Edits::begin(stage).await;
        let node = &stage.node;
        let first = stage.holder().await;
        let pod = holding(stage, &first).await;
        for other in stage.pods().await {
            let name = other["metadata"]["name"].as_str().unwrap();
            let log = stage.log_of(&other).await;
            let says = |message: &str| log.contains(&format!("\"message\":\"{message}"));
            let acts = says("status: ");
            assert_eq!(acts, first.starts_with(name), "who holds the Lease acts, and nobody else:\n{log}");
            assert!(acts || says("following: another replica leads"), "{log}");
            assert!(!log.contains("\"WARN\""), "that somebody else was faster is no trouble:\n{log}");
        }

        let started = Instant::now();
        node.kubectl(&format!("delete pod {} -n {NAME} --wait=false", pod["metadata"]["name"].as_str().unwrap())).await;
        let second = stage.successor_of(&first).await;
        println!("the holder deleted: {second} holds the Lease after {:.1} s", started.elapsed().as_secs_f32());
        assert!(started.elapsed() < Duration::from_secs(12), "a Lease that is given back is not waited for");
        node.kubectl(&format!("rollout status deploy/{NAME} -n {NAME} --timeout=60s")).await;

        // Killed as when memory is short: the kubelet starts the container again, but the Lease is not that process's.
        let pod = holding(stage, &second).await;
        let started = Instant::now();
        Process::in_pod(&pod).unwrap().kill().await;
        let third = stage.successor_of(&second).await;
        let took = started.elapsed();
        println!("the holder killed: {third} holds the Lease after {:.1} s", took.as_secs_f32());
        assert!(took > Duration::from_secs(5), "nobody may know that the holder is dead: {took:?}");
        edits.end(stage).await;
        let restarted = node.get(&format!("pod {} -n {NAME}", pod["metadata"]["name"].as_str().unwrap())).await;
        assert_eq!(restarted["status"]["containerStatuses"][0]["restartCount"], 1, "{restarted:#}");
    })
    .await;
}
