# The tag names a patch release, so that an upgrade is a commit. A tag can be moved all the same; to pin the very
# bytes too, ask for the digest behind it, and build with that:
#   docker buildx imagetools inspect python:3.13.16-slim-trixie --format '{{.Manifest.Digest}}'
#   docker build --build-arg PYTHON_IMAGE=python:3.13.16-slim-trixie@sha256:... .
ARG PYTHON_IMAGE=python:3.13.16-slim-trixie

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# The dependencies first: they change less often than the code. Wheels only, because what an sdist
# needs to be built is in no lock. The build backend gets a venv of its own, and pip stays in that one.
COPY deploy/requirements.lock deploy/requirements-build.lock deploy/
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes --only-binary=:all: -r deploy/requirements-build.lock \
    && python -m venv --without-pip /opt/venv \
    && /opt/build/bin/pip --python /opt/venv/bin/python install \
        --require-hashes --only-binary=:all: --no-compile -r deploy/requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
# The short commit hash for kms_exporter_build_info: --build-arg REVISION="$(git rev-parse --short HEAD)"
ARG REVISION=
RUN printf '%s' "$REVISION" >exporter/REVISION \
    && /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir dist . \
    && /opt/build/bin/pip --python /opt/venv/bin/python install --no-deps --no-index --no-compile dist/*.whl
# Bytecode halves the CPU time of a start, and nothing can write it later. Unchecked, so that it holds whatever time
# a builder gives the sources.
RUN /opt/venv/bin/python -m compileall -qf -j 0 --invalidation-mode unchecked-hash /opt/venv/lib


FROM ${PYTHON_IMAGE}
ARG REVISION=
LABEL org.opencontainers.image.title="kms-exporter" \
      org.opencontainers.image.description="Prometheus exporter that watches Windows KMS hosts from the network" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH="/opt/venv/bin:${PATH}" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY --from=build /opt/venv /opt/venv

# Numeric, so that Kubernetes can see for itself that it is not root (runAsNonRoot).
USER 65532:65532
EXPOSE 11688
# Unhealthy is whoever does not answer, or answers that its checks have stalled. For the default address without TLS
# or passwords: with another address or TLS, give `docker run` a --health-cmd; with passwords, leave /-/healthy open
# (basic_auth_excluded_paths). By http.client, because urllib would ask the proxy that a container may be given.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-ISc", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 11688, timeout=4); c.request('GET', '/-/healthy'); a = c.getresponse(); print(a.read(500).decode()); raise SystemExit(a.status != 200)"]
ENTRYPOINT ["kms-exporter"]
CMD ["run", "--config.file=/etc/kms-exporter/kms-exporter.yml"]
