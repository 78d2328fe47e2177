//! In the place of a node: whatever Deployment of the operator somebody installs, its program runs with the arguments and
//! the rights that were installed, and the Deployment says that it is available. An image that nobody can pull never is.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use harness::{
    cloudflare::Cloudflare,
    control_plane::{ControlPlane, OPERATOR},
    fixture::PATIENCE,
    operator::{self, Operator},
};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use tokio::sync::oneshot;

type Running = BTreeMap<String, (Option<i64>, Operator)>;

/// Runs what is installed until it is told to stop; ends each program in order.
pub(super) async fn run(
    control_plane: &ControlPlane,
    cloudflare: &Cloudflare,
    published: &AtomicBool,
    mut stop: oneshot::Receiver<()>,
) -> harness::Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(control_plane.client().await?, OPERATOR);
    let mut running = Running::new();
    while stop.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
        let listed = deployments.list(&kube::api::ListParams::default()).await?;
        let (mut keep, mut next) = (Running::new(), Vec::new());
        for deployment in listed {
            let name = deployment.metadata.name.clone().unwrap_or_default();
            match running.remove(&name) {
                Some(same) if same.0 == deployment.metadata.generation => drop(keep.insert(name, same)),
                former => next.push((name, deployment, former)),
            }
        }
        for (_, operator) in std::mem::replace(&mut running, keep).into_values() {
            end(operator).await?;
        }
        for (name, deployment, former) in next {
            if let Some((_, former)) = former {
                end(former).await?;
            }
            if !published.load(Ordering::Relaxed) && is_of_the_project(&deployment) {
                // A node would try in vain to pull it: nobody is told that it is available.
            } else if deployment.spec.replicas == Some(0) {
                available(&deployments, &name, &deployment).await?;
            } else if let Some(operator) = start(control_plane, cloudflare, &deployment).await? {
                available(&deployments, &name, &deployment).await?;
                running.insert(name, (deployment.metadata.generation, operator));
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for (_, operator) in running.into_values() {
        end(operator).await?;
    }
    Ok(())
}

/// Whether the image is the one that is not published yet.
fn is_of_the_project(deployment: &Deployment) -> bool {
    let containers = deployment.spec.template.spec.as_ref().map(|pod| &pod.containers);
    let image = containers.and_then(|containers| containers.first()?.image.as_deref());
    image.is_some_and(|image| image.starts_with("ghcr.io/cloudflare-mtls-operator/"))
}

async fn start(
    control_plane: &ControlPlane,
    cloudflare: &Cloudflare,
    deployment: &Deployment,
) -> harness::Result<Option<Operator>> {
    let containers = deployment.spec.template.spec.as_ref().map(|pod| &pod.containers);
    let arguments = containers.and_then(|containers| containers.first()?.args.clone()).unwrap_or_default();
    let program = env!("CARGO_BIN_EXE_cloudflare-mtls-operator");
    let operator = Operator::builder(program, control_plane)
        .deployed_as(arguments)
        .cloudflare(cloudflare.url())
        .arg("--secret-poll=1s")
        .spawn()
        .await;
    let Ok(mut operator) = operator else {
        // What is applied in one go need not have arrived as a whole: a pod would wait for its ServiceAccount too.
        return Ok(None);
    };
    operator.wait_ready(PATIENCE).await?;
    Ok(Some(operator))
}

/// What the Deployment controller says of a Deployment whose pods are ready.
async fn available(deployments: &Api<Deployment>, name: &str, deployment: &Deployment) -> harness::Result<()> {
    let replicas = deployment.spec.replicas.unwrap_or(1);
    let status = operator::available(deployment.metadata.generation, replicas.into());
    match deployments.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await {
        // It went in the meantime.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        outcome => Ok(outcome.map(|_| ())?),
    }
}

async fn end(mut operator: Operator) -> harness::Result<()> {
    operator.signal("TERM")?;
    let code = operator.wait_exit(PATIENCE).await?;
    if code == 0 { Ok(()) } else { Err(harness::Error::new(format!("an operator ended with status {code}"))) }
}
