# One file for every image: docker build --build-arg SERVICE=ingest -t darkroom/ingest .
# SERVICE is one of ingest, metadata, transmit, print, api, licensing; or local, the command `darkroom`
# with which backups are made. An image holds Python, the virtual environment of its one service, and
# nothing else. It runs as user 10001 and writes only to /tmp and to the volumes under
# /var/lib/darkroom, so that its root may be read-only.
ARG BASE=docker.io/library/python:3.11-slim-bookworm
ARG SERVICE

FROM ${BASE} AS build
ARG UV_VERSION=0.13.8
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir "uv==${UV_VERSION}"
ENV UV_PYTHON=python3 \
    UV_PYTHON_DOWNLOADS=never \
    UV_PROJECT_ENVIRONMENT=/opt/darkroom \
    UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1 \
    PYC_INVALIDATION_MODE=UNCHECKED_HASH
WORKDIR /src
# First what is locked and rarely changes: the packages that are not ours. uv wants to see every
# member of the workspace before it believes the lock file.
COPY pyproject.toml uv.lock ./
COPY libs/common/pyproject.toml libs/common/
COPY services/ingest/pyproject.toml services/ingest/
COPY services/metadata/pyproject.toml services/metadata/
COPY services/transmit/pyproject.toml services/transmit/
COPY services/print/pyproject.toml services/print/
COPY services/api/pyproject.toml services/api/
COPY services/licensing/pyproject.toml services/licensing/
COPY infra/local/pyproject.toml infra/local/
ARG SERVICE
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv sync --locked --no-dev --no-install-workspace --package "darkroom-${SERVICE}"
COPY libs/common/src libs/common/src
COPY services services
COPY infra/local/src infra/local/src
# What browsers run, from the npm registry by its hash (api alone has some).
ARG NPM_CONFIG_REGISTRY=https://registry.npmjs.org/
RUN if [ -f "services/${SERVICE}/vendor/fetch.py" ]; then \
        python3 "services/${SERVICE}/vendor/fetch.py"; fi
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv sync --locked --no-dev --no-editable --package "darkroom-${SERVICE}" \
    # when it was built, which nothing reads and no two builds have alike
    && find /opt/darkroom -path '*/darkroom_*.dist-info/RECORD' -exec sed -i '/uv_cache\.json/d' {} + \
    && find /opt/darkroom -name uv_cache.json -delete

# Films and images are written on in any script: the fonts, and what lays out those that run to the left.
FROM ${BASE} AS fonts
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        fonts-dejavu-core fonts-noto-core fonts-noto-cjk libfribidi0 \
    && install -D "$(find /usr/lib -name libfribidi.so.0)" /fonts/libfribidi.so.0

FROM ${BASE} AS runtime
# A new named volume takes its owner from the directory that it is mounted on.
RUN groupadd --gid 10001 darkroom \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin darkroom \
    && install -d -o 10001 -g 10001 -m 0750 \
        /var/lib/darkroom/spool /var/lib/darkroom/objects /var/lib/darkroom/scratch \
        /var/lib/darkroom/exports \
        /var/lib/darkroom/audit \
        /var/lib/darkroom/licence \
    && install -d -o 10001 -g 10001 -m 0755 /var/lib/darkroom /var/lib/darkroom/definitions
COPY LICENSE /usr/share/doc/darkroom/LICENSE
COPY --from=build /opt/darkroom /opt/darkroom
ENV PATH=/opt/darkroom/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONSAFEPATH=1 \
    TMPDIR=/tmp
WORKDIR /
USER 10001:10001
# For engines that look by themselves; compose.yaml asks /readyz, Kubernetes has its own probes.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-m", "darkroom_common.links.probe", "/livez"]

# Each service is process 1 and gets SIGTERM itself: no shell, no wrapper.
FROM runtime AS service-ingest
EXPOSE 11112 9090
ENTRYPOINT ["python", "-m", "darkroom_ingest"]

FROM runtime AS service-metadata
EXPOSE 9090
ENTRYPOINT ["python", "-m", "darkroom_metadata"]

FROM runtime AS service-transmit
EXPOSE 9090 11113
ENTRYPOINT ["python", "-m", "darkroom_transmit"]

FROM runtime AS service-print
COPY --from=fonts /usr/share/fonts /usr/share/fonts
COPY --from=fonts /fonts/libfribidi.so.0 /usr/lib/
EXPOSE 9090
ENTRYPOINT ["python", "-m", "darkroom_print"]

FROM runtime AS service-api
COPY --from=fonts /usr/share/fonts /usr/share/fonts
COPY --from=fonts /fonts/libfribidi.so.0 /usr/lib/
EXPOSE 8080 9090
ENTRYPOINT ["python", "-m", "darkroom_api"]

FROM runtime AS service-licensing
EXPOSE 9090
ENTRYPOINT ["python", "-m", "darkroom_licensing"]

# No service, but what an operator calls: docker run darkroom/local backup s3://...
FROM runtime AS service-local
HEALTHCHECK NONE
ENTRYPOINT ["python", "-m", "darkroom_local"]

FROM service-${SERVICE}
ARG SERVICE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="darkroom-${SERVICE}" \
    org.opencontainers.image.description="Darkroom medical imaging: ${SERVICE}" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.licenses="Apache-2.0"
