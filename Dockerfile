# syntax=docker/dockerfile:1

# The operator's image, for everyone with BuildKit: the same files as in that of `make image`, from the same scripts. This
# repository's CI builds that one, and not this.
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" \
#     --build-arg CREATED="$(TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd)" \
#     --build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" .

# By their tags, since nothing here fetches the base images and could learn their digests. What they leave in the image is one static
# program and texts; for a build that has to be the same each time there is `make image`.
ARG RUST_VERSION=1.95.0
ARG GO_VERSION=1.26.8

FROM --platform=$BUILDPLATFORM golang:${GO_VERSION}-bookworm AS go

# The builder always runs on the machine's own platform and compiles for the other, which is many times faster than emulating it.
FROM --platform=$BUILDPLATFORM rust:${RUST_VERSION}-bookworm AS build
COPY --from=go /usr/local/go /usr/local/go
ENV PATH=/usr/local/go/bin:$PATH
ARG BUILDARCH
ARG TARGETARCH
# Debian's release is pinned by the base image; single versions vanish from its archive with each update.
# hadolint ignore=DL3008
RUN if [ "$BUILDARCH" != "$TARGETARCH" ]; then \
      apt-get update && \
      apt-get install -y --no-install-recommends crossbuild-essential-"$TARGETARCH" && \
      rm -rf /var/lib/apt/lists/*; \
    fi
WORKDIR /operator
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/root/go/pkg/mod \
    --mount=type=cache,target=/operator/target,id=target-$TARGETARCH \
    image/binary "$TARGETARCH" "/out/cloudflare-mtls-operator-linux-$TARGETARCH" && \
    go -C image build -mod=readonly -o /out/image . && \
    /out/image rootfs -platforms "$TARGETARCH" -source . -out /out

FROM scratch
ARG VERSION
ARG REVISION
ARG CREATED
LABEL org.opencontainers.image.title="cloudflare-mtls-operator" \
      org.opencontainers.image.description="Kubernetes operator for Cloudflare Access mTLS hostname settings" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/cloudflare-mtls-operator/cloudflare-mtls-operator" \
      org.opencontainers.image.url="https://github.com/cloudflare-mtls-operator/cloudflare-mtls-operator" \
      org.opencontainers.image.documentation="https://github.com/cloudflare-mtls-operator/cloudflare-mtls-operator/tree/$REVISION/docs" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
COPY --from=build /out/rootfs/etc /etc
COPY --from=build /out/rootfs/licenses /licenses
COPY --from=build /out/rootfs/cloudflare-mtls-operator /cloudflare-mtls-operator
USER 65532:65532
WORKDIR /
ENTRYPOINT ["/cloudflare-mtls-operator"]
