//! Many objects: made or changed some at a time, and counted when they should be ready.

use std::ops::Range;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::{DynamicObject, ListParams};
use serde_json::json;

use crate::cloudflare::Cloudflare;
use crate::error::{Error, Result};
use crate::fixture::{Fixture, condition, eventually, random_id};

/// Objects that share a zone.
pub(super) const IN_ZONE: usize = 10;
/// Requests at a time where the API server is to be given as much as it takes; the operator makes as many.
pub(super) const AT_ONCE: usize = 16;
/// Objects in one page of a list.
const PAGE: u32 = 500;

/// Does something for each number, so many at a time.
pub(super) async fn each<F: Future<Output = Result<()>>>(
    numbers: Range<usize>,
    at_once: usize,
    act: impl Fn(usize) -> F,
) -> Result<()> {
    stream::iter(numbers).map(act).buffer_unordered(at_once).try_for_each(async |()| Ok(())).await
}

/// The name of an object.
pub(super) fn name(number: usize) -> String {
    format!("object-{number}")
}

/// The one hostname of that object.
pub(super) fn hostname(number: usize) -> String {
    format!("object-{number}.example.com")
}

/// Makes objects of these numbers, ten to a zone, so many at a time.
pub(super) async fn create(
    fixture: &Fixture,
    cloudflare: &Cloudflare,
    numbers: Range<usize>,
    at_once: usize,
) -> Result<()> {
    let first = numbers.start / IN_ZONE;
    let zones: Vec<String> = (first..numbers.end.div_ceil(IN_ZONE)).map(|_| random_id()).collect();
    for zone in &zones {
        let _ = cloudflare.add_zone(zone, "example.com");
    }
    let zones = &zones;
    each(numbers, at_once, async |number| {
        let zone = zones.get(number / IN_ZONE - first).ok_or_else(|| Error::new("there is no such zone"))?;
        let manifest = fixture.settings(&name(number)).zone(zone).hostname(&hostname(number), true);
        fixture.apply(&manifest.build()).await.map(drop)
    })
    .await
}

/// How many objects there are, and how many of them are ready.
pub(super) async fn count(fixture: &Fixture) -> Result<(usize, usize)> {
    let (mut all, mut ready) = (0, 0);
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = fixture.objects().list(&page).await?;
        all += list.items.len();
        ready += list.items.iter().filter(|object| is_ready(object)).count();
        match list.metadata.continue_ {
            Some(token) if !token.is_empty() => page = page.continue_token(&token),
            _ => return Ok((all, ready)),
        }
    }
}

fn is_ready(object: &DynamicObject) -> bool {
    let generation = object.metadata.generation;
    let object = serde_json::to_value(object).unwrap_or_default();
    condition(&object, "Ready").is_some_and(|ready| {
        ready.get("status") == Some(&json!("True")) && ready.get("observedGeneration") == Some(&json!(generation))
    })
}

/// Waits until there are so many objects and all are ready.
pub(super) async fn until_ready(fixture: &Fixture, objects: usize, patience: Duration) -> Result<()> {
    eventually(patience, format!("{objects} objects are ready"), async || {
        let (all, ready) = count(fixture).await.map_err(|error| error.to_string())?;
        if all == objects && ready == all { Ok(()) } else { Err(format!("{ready} of {all} are ready")) }
    })
    .await
}
