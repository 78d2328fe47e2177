"""PyPI cloudflare 5, in the terms of check.py."""

import cloudflare

import check


class Sdk5:
    knows_status = True
    reads_absent = True
    code_of_html = None

    def __init__(self, token=None, email=None, key=None):
        self.client = cloudflare.Cloudflare(
            base_url=check.BASE_URL, api_token=token, api_email=email, api_key=key, max_retries=0, timeout=10)
        self.settings = self.client.zero_trust.access.certificates.settings

    def read(self, scope):
        return self.entries(self.settings.get(**{f"{scope[0]}_id": scope[1]}))

    def write(self, scope, entries):
        return self.entries(self.settings.update(settings=entries, **{f"{scope[0]}_id": scope[1]}))

    def verify(self):
        return self.client.user.tokens.verify().status

    @staticmethod
    def entries(page):
        return [
            {"hostname": item.hostname, "client_certificate_forwarding": item.client_certificate_forwarding,
             "china_network": item.china_network}
            for item in page.result or []
        ]

    @staticmethod
    def refusal(call):
        kinds = {400: cloudflare.BadRequestError, 403: cloudflare.PermissionDeniedError, 404: cloudflare.NotFoundError,
                 409: cloudflare.ConflictError, 429: cloudflare.RateLimitError, 520: cloudflare.InternalServerError}
        try:
            return f"no refusal: {call()!r}"
        except cloudflare.APIStatusError as error:
            if not isinstance(error, kinds[error.status_code]):
                return f"{type(error)} for {error.status_code}"
            return error.status_code, error.errors[0].code if error.errors else None


check.run(Sdk5)
