//! The yardstick for many objects: their statuses are applied, with nothing around it but, if asked for, an event.

use std::ops::Range;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, DynamicObject};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use super::audit::{Audit, Request};
use super::cpu::{Cpu, Meter};
use super::lists::seconds;
use super::spread::float;
use super::{objects, program};
use crate::control_plane::ControlPlane;
use crate::error::{Error, Result};
use crate::fixture::{API_VERSION, Fixture};

/// How fast statuses were applied.
pub(super) struct Pace {
    pub(super) objects: usize,
    pub(super) per_second: f64,
    pub(super) requests_per_second: f64,
    /// Requests under way at a time, on average, by the API server's own times.
    pub(super) under_way: f64,
    pub(super) cpu: Cpu,
}

/// What is done for each object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    Status,
    /// The event too that the operator writes when the reason has changed.
    StatusAndEvent,
}

/// The API server as the operator sees it, and what it uses.
pub(super) struct Yardstick<'a> {
    pub(super) control_plane: &'a ControlPlane,
    pub(super) meter: &'a Meter,
    pub(super) client: kube::Client,
    pub(super) fixture: Fixture,
}

impl Yardstick<'_> {
    /// Applies a status to each of these objects, as many at a time as the operator does.
    pub(super) async fn measure(&self, numbers: Range<usize>, effort: Effort) -> Result<Pace> {
        let api: Api<DynamicObject> = program::objects(&self.client, &self.fixture);
        let reporter = Reporter { controller: "bench".to_owned(), instance: None };
        let recorder = Recorder::new(self.client.clone(), reporter);
        let audit = Audit::from_now(self.control_plane)?;
        let count = numbers.len();
        let before = self.meter.read(None)?;
        objects::each(numbers, objects::AT_ONCE, async |number| {
            let name = objects::name(number);
            program::apply_status(&api, &name, 1, &objects::hostname(number), true).await?;
            if effort == Effort::StatusAndEvent {
                recorder.publish(&event(), &self.reference(name)).await?;
            }
            Ok(())
        })
        .await?;
        let cpu = self.meter.read(None)?.since(&before);
        let requests = audit.requests_in(self.fixture.namespace())?;
        let (first, last) = span(&requests).ok_or_else(|| Error::new("no status is in the audit log"))?;
        let lasted = seconds(first, last);
        Ok(Pace {
            objects: count,
            per_second: float(count) / lasted,
            requests_per_second: float(requests.len()) / lasted,
            under_way: under_way(&requests, first, last),
            cpu,
        })
    }

    fn reference(&self, name: String) -> ObjectReference {
        ObjectReference {
            api_version: Some(API_VERSION.to_owned()),
            kind: Some("MtlsHostnameSettings".to_owned()),
            name: Some(name),
            namespace: Some(self.fixture.namespace().to_owned()),
            ..ObjectReference::default()
        }
    }
}

/// An event like the operator's.
fn event() -> Event {
    Event {
        type_: EventType::Normal,
        reason: "InSync".to_owned(),
        note: Some(program::MESSAGE.to_owned()),
        action: "Sync".to_owned(),
        secondary: None,
    }
}

/// From the first request's arrival to the last one's answer.
pub(super) fn span<'a>(requests: impl IntoIterator<Item = &'a Request>) -> Option<(Timestamp, Timestamp)> {
    let times = requests.into_iter().map(|request| (request.at, request.end));
    times.reduce(|(first, last), (at, end)| (first.min(at), last.max(end)))
}

/// How many requests were under way on average between two times.
pub(super) fn under_way<'a>(requests: impl IntoIterator<Item = &'a Request>, first: Timestamp, last: Timestamp) -> f64 {
    let inside = |request: &Request| seconds(request.at.max(first), request.end.min(last)).max(0.0);
    requests.into_iter().map(inside).sum::<f64>() / seconds(first, last)
}
