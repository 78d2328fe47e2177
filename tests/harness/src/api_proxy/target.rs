//! What a request asks of the API server, in the words of its access rules: verb, resource, name.

use hyper::{Method, Uri};

/// Verb and object of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verb: &'static str,
    /// As a role names it: `secrets`, `mtlshostnamesettings`, `mtlshostnamesettings/status`. Empty for other paths.
    pub resource: String,
    /// The namespace, if there is one.
    pub namespace: Option<String>,
    /// The object's name; none for a list, a watch or a creation.
    pub name: Option<String>,
}

impl Target {
    pub(super) fn of(method: &Method, uri: &Uri) -> Self {
        let segments: Vec<&str> = uri.path().split('/').filter(|segment| !segment.is_empty()).collect();
        let rest = match segments.as_slice() {
            ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
            _ => &[],
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let (resource, name) = match rest {
            [resource, name, subresource] => (format!("{resource}/{subresource}"), Some((*name).to_owned())),
            [resource, name] => ((*resource).to_owned(), Some((*name).to_owned())),
            [resource] => ((*resource).to_owned(), None),
            _ => (String::new(), None),
        };
        let asks_for = |wanted: &str| uri.query().is_some_and(|query| query.split('&').any(|pair| pair == wanted));
        let verb = match *method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ if asks_for("watch=true") || asks_for("watch=1") => "watch",
            _ if name.is_none() => "list",
            _ => "get",
        };
        Self { verb, resource, namespace, name }
    }

    pub(super) fn is_watch(&self) -> bool {
        self.verb == "watch"
    }

    /// Whether it asks for what is there, once.
    pub(super) fn is_look(&self) -> bool {
        matches!(self.verb, "get" | "list")
    }

    pub(super) fn is_write(&self) -> bool {
        !self.is_look() && !self.is_watch()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(method: &str, uri: &str) -> (&'static str, String, Option<String>) {
        let method = Method::from_bytes(method.as_bytes()).unwrap_or_default();
        let target = Target::of(&method, &uri.parse().unwrap_or_default());
        (target.verb, target.resource, target.name)
    }

    #[test]
    fn requests_are_named_as_access_rules_name_them() {
        let objects = "/apis/cloudflare-mtls.dev/v1alpha1/namespaces/a/mtlshostnamesettings";
        let of = |verb, resource: &str, name: Option<&str>| (verb, resource.to_owned(), name.map(str::to_owned));
        let all = of("list", "mtlshostnamesettings", None);
        assert_eq!(target("GET", &format!("{objects}?limit=100")), all);
        assert_eq!(target("GET", "/apis/cloudflare-mtls.dev/v1alpha1/mtlshostnamesettings"), all);
        assert_eq!(target("GET", &format!("{objects}?x=1&watch=true")), of("watch", "mtlshostnamesettings", None));
        assert_eq!(target("GET", "/api/v1/namespaces/a/secrets/token"), of("get", "secrets", Some("token")));
        let status = of("patch", "mtlshostnamesettings/status", Some("one"));
        assert_eq!(target("PATCH", &format!("{objects}/one/status?force=true")), status);
        assert_eq!(target("POST", "/apis/events.k8s.io/v1/namespaces/a/events"), of("create", "events", None));
        assert_eq!(target("GET", "/api/v1/namespaces/a"), of("get", "namespaces", Some("a")));
    }
}
