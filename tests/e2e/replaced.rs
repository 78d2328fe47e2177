//! Everything that replaces a pod, while people edit objects: one write at a time, and nothing is lost.

use std::time::{Duration, Instant};

use harness::fixture::eventually;
use serde_json::json;

use crate::{
    edits::Edits,
    stage::{NAME, PATIENCE, Stage},
};

/// Has something replace the pod that acts, and waits until its successor has written.
async fn replaced(stage: &Stage, what: &str, by: impl AsyncFnOnce()) {
    let (former, mark, started) = (stage.holder().await, stage.cloudflare.ledger().mark(), Instant::now());
    by().await;
    let holder = stage.successor_of(&former).await;
    let written = stage.cloudflare.ledger().mark();
    eventually(PATIENCE, "a write of the successor", async || {
        let ledger = stage.ledger();
        if ledger.since(written).accepted_puts(stage.remote.scope()).is_empty() { Err(ledger) } else { Ok(()) }
    })
    .await
    .unwrap();
    stage.assert_no_overlap(what);
    let since = stage.ledger().since(mark);
    let puts = since.puts(stage.remote.scope());
    let pauses = puts.windows(2).map(|pair| pair[1].start_us - pair[0].start_us);
    println!(
        "{what}: {:.1} s, {} writes, the longest pause between two {:.1} s; {holder} follows {former}",
        started.elapsed().as_secs_f32(),
        puts.len(),
        Duration::from_micros(pauses.max().unwrap_or_default()).as_secs_f32(),
    );
}

#[tokio::test]
#[ignore = "needs a node of its own: make e2e"]
async fn whatever_replaces_its_pod_one_write_is_under_way_at_a_time_and_no_edit_is_lost() {
    Stage::play(async |stage| {
        let disruptable = json!({"podDisruptionBudget": {"enabled": true}});
        stage.install(&disruptable).await;
        let edits = Edits::begin(stage).await;
        let node = &stage.node;
        let rolled_out = async || node.kubectl(&format!("rollout status deploy/{NAME} -n {NAME} --timeout=60s")).await;

        replaced(stage, "kubectl rollout restart", async || {
            node.kubectl(&format!("rollout restart deploy/{NAME} -n {NAME}")).await;
            rolled_out().await;
        })
        .await;
        let name_of = |pod: serde_json::Value| pod["metadata"]["name"].as_str().unwrap().to_owned();
        replaced(stage, "kubectl delete pod", async || {
            let pod = name_of(stage.pod().await);
            node.kubectl(&format!("delete pod {pod} -n {NAME}")).await;
            rolled_out().await;
        })
        .await;
        // The successor starts at once, while the kubelet still ends the former one.
        replaced(stage, "kubectl delete pod --force", async || {
            let pod = name_of(stage.pod().await);
            node.kubectl(&format!("delete pod {pod} -n {NAME} --force --grace-period=0")).await;
            rolled_out().await;
        })
        .await;
        replaced(stage, "kubectl drain", async || {
            let output = node.kubectl("drain node --ignore-daemonsets --timeout=90s").await;
            assert!(output.contains(&format!("evicting pod {NAME}/{NAME}-")), "{output}");
            node.kubectl("uncordon node").await;
            rolled_out().await;
        })
        .await;

        let image_of = |pod: &serde_json::Value| pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
        let first = image_of(&stage.pod().await);
        let (repository, _) = first.rsplit_once(':').unwrap();
        let digest = node.digest(&format!("{repository}:next")).await;
        assert_ne!(digest, node.digest(&first).await, "the second image is the first one");
        replaced(stage, "helm upgrade to an image by its digest", async || {
            let mut values = disruptable.clone();
            values["image"] = json!({"tag": "next", "digest": digest});
            stage.upgrade(&values).await;
        })
        .await;
        assert_eq!(image_of(&stage.pod().await), format!("{repository}:next@{digest}"));
        replaced(stage, "helm rollback", async || {
            node.helm(&format!("rollback {NAME} -n {NAME} --wait --timeout 60s")).await;
        })
        .await;
        assert_eq!(image_of(&stage.pod().await), first);
        edits.end(stage).await;
    })
    .await;
}
