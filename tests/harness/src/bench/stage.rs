//! What a measurement of many objects begins with: an emulated Cloudflare, and a namespace with the Secret of its objects.

use crate::cloudflare::Cloudflare;
use crate::control_plane::ControlPlane;
use crate::error::Result;
use crate::fixture::{CREDENTIAL, Fixture};

pub(super) const TOKEN: &str = "cfut_Vd8Kp3Xs6Qm1Zr9Wt4Lb7Nf2Gy5Hc";

/// A Cloudflare that answers at once and lets the token write everything.
pub(super) async fn cloudflare() -> Result<Cloudflare> {
    let cloudflare = Cloudflare::start().await?;
    // Its own limit would slow the operator down, as it should.
    cloudflare.switch(|switches| switches.ratelimit_headers = false);
    cloudflare.token(TOKEN).may_write_everything();
    Ok(cloudflare)
}

/// A namespace with that token in the Secret that its objects name.
pub(super) async fn namespace(control_plane: &ControlPlane) -> Result<Fixture> {
    let fixture = Fixture::new(control_plane).await?;
    let (secret, key) = CREDENTIAL;
    fixture.apply(&fixture.secret(secret, key, TOKEN)).await?;
    Ok(fixture)
}
