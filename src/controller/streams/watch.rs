//! A watch that begins anew where kube's does not, and shows nothing that is older than what it has shown.

use std::future::ready;

use futures::{Stream, StreamExt, stream};
use kube::{
    Api, Resource,
    runtime::watcher::{self, Event},
};

use crate::controller::{Guarded, scopes::number};

/// What a watch says.
pub(super) type Said = Result<Event<Guarded>, watcher::Error>;

/// Watches, and begins anew where kube does not.
pub(super) fn watch(api: Api<Guarded>, config: watcher::Config) -> impl Stream<Item = Said> + Send + 'static {
    let begin = move || watcher::watcher(api.clone(), config.clone()).boxed();
    stream::unfold((begin(), None, begin), |(mut watching, mut held, begin)| async move {
        let mut said: Said = match held.take() {
            Some(said) => said,
            None => watching.next().await?,
        };
        if let Ok(Event::Init) = said {
            // Said before the list is asked for. Passed on together with what comes of it, or else the backoff would take it
            // for a success.
            held = Some(watching.next().await?);
            if let Some(failure) = held.take_if(|next| next.is_err()) {
                said = failure;
            }
        }
        if is_gone(&said) {
            watching = begin();
        }
        Some((said, (watching, held, begin)))
    })
}

/// Whether the version to resume from is gone, said before the watch begins: kube would ask for the same for ever.
fn is_gone(said: &Said) -> bool {
    matches!(said, Err(watcher::Error::WatchStartFailed(kube::Error::Api(status))) if status.code == 410)
}

/// Within a watch, versions only grow: what is older than what was shown before is a replay, and not how things are.
pub(super) fn in_order(said: impl Stream<Item = Said> + Send + 'static) -> impl Stream<Item = Said> + Send + 'static {
    let mut newest = String::new();
    let mut is_older = move |object: Option<&Guarded>| {
        let Some(object) = object else {
            newest.clear();
            return false;
        };
        let version = object.meta().resource_version.as_deref().unwrap_or_default();
        let is_older = number(version) < number(&newest);
        if !is_older {
            version.clone_into(&mut newest);
        }
        is_older
    };
    said.filter(move |said| {
        ready(match said {
            // A list begins anew: it is believed, whatever was shown before.
            Ok(Event::Init) => !is_older(None),
            Ok(Event::InitApply(object)) => {
                is_older(Some(object));
                true
            }
            Ok(Event::Apply(object) | Event::Delete(object)) => !is_older(Some(object)),
            Ok(Event::InitDone) | Err(_) => true,
        })
    })
}
