"""PyPI cloudflare 2.20.0, in the terms of check.py. Its errors have the code and no status."""

import CloudFlare
import requests

import check


class Sdk2:
    knows_status = False
    reads_absent = False
    code_of_html = "HTTP 520"

    def __init__(self, token=None, email=None, key=None):
        self.client = CloudFlare.CloudFlare(
            base_url=check.BASE_URL, token=token, email=email, key=key, max_request_retries=0, warnings=False)

    def settings(self, scope):
        return getattr(self.client, f"{scope[0]}s").access.certificates.settings

    def read(self, scope):
        return self.settings(scope).get(scope[1]) or []

    def write(self, scope, entries):
        return self.settings(scope).put(scope[1], data={"settings": entries})

    def verify(self):
        return self.client.user.tokens.verify.get()["status"]

    @staticmethod
    def refusal(call):
        try:
            return f"no refusal: {call()!r}"
        except CloudFlare.exceptions.CloudFlareAPIError as error:
            return None, int(error)
        except requests.HTTPError as error:
            return None, f"HTTP {error.response.status_code}"


check.run(Sdk2)
