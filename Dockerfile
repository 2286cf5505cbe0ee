# syntax=docker/dockerfile:1
# The base image is an argument, so that a site can pin its own mirror and digest.
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
# What goes into the image has no pip in it: that of another environment fills it.
RUN python -m venv /opt/build && python -m venv --without-pip /opt/reaper
# The dependencies change less often than the code: layers of their own.
COPY requirements.lock requirements-build.lock ./
RUN /opt/build/bin/pip --python /opt/reaper/bin/python install --no-compile --require-hashes -r requirements.lock \
    && /opt/build/bin/pip install --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY reaper ./reaper
# Bytecode that is never compared with its source: the image cannot change, and is the same from any clock.
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/build/bin/pip --python /opt/reaper/bin/python install --no-compile --no-deps --no-index /wheels/*.whl \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/reaper/lib

FROM ${PYTHON_IMAGE}
ARG PYTHON_IMAGE
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="reaper" \
      org.opencontainers.image.description="Retention and garbage collection for container registries" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
# State goes to /var/lib/reaper unless the settings say otherwise.
ENV PATH=/opt/reaper/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    XDG_STATE_HOME=/var/lib
# Nothing in here can install anything. The owner is numeric, so that Kubernetes can prove that it is not root.
RUN python -m pip uninstall --quiet --yes --root-user-action=ignore pip \
    && rm -rf "$(python -c 'import ensurepip, os; print(os.path.dirname(ensurepip.__file__))')" \
    && mkdir -p /var/lib/reaper \
    && chown 65532:65532 /var/lib/reaper
COPY --from=build /opt/reaper /opt/reaper
USER 65532:65532
VOLUME /var/lib/reaper
EXPOSE 8080
# For the daemon, with its settings where it finds them itself; Kubernetes has probes of its own.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["python", "-c", "from urllib.request import urlopen; from reaper.config.settings import load_settings; urlopen(f'http://127.0.0.1:{load_settings().web.port}/livez', timeout=8)"]
ENTRYPOINT ["reaper"]
CMD ["--help"]
