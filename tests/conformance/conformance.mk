.PHONY: conformance
conformance: ## Hold the Cloudflare emulator against Cloudflare's own clients in Go, JavaScript and Python
	tests/conformance/run
