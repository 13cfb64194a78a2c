# The tag names a patch release, so that an upgrade is a commit. To pin the very bytes too:
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
        --require-hashes --only-binary=:all: -r deploy/requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
# The short commit hash for kms_exporter_build_info: --build-arg REVISION="$(git rev-parse --short HEAD)"
ARG REVISION=
RUN printf '%s' "$REVISION" >exporter/REVISION \
    && /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir dist . \
    && /opt/build/bin/pip --python /opt/venv/bin/python install --no-deps --no-index dist/*.whl


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
# For the default address without TLS or passwords. With another address or TLS, give `docker run` a --health-cmd;
# with passwords, leave /-/healthy open (basic_auth_excluded_paths).
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:11688/-/healthy', timeout=4)"]
ENTRYPOINT ["kms-exporter"]
CMD ["run", "--config.file=/etc/kms-exporter/kms-exporter.yml"]
