# syntax=docker/dockerfile:1
# Base images are arguments, so that a site can pin its own mirror and digest.
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
# The dependencies change less often than the code: a layer of their own.
COPY requirements.lock ./
RUN python -m venv /opt/reaper && /opt/reaper/bin/pip install --require-hashes -r requirements.lock
COPY requirements-build.lock pyproject.toml README.md LICENSE ./
COPY reaper ./reaper
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes -r requirements-build.lock \
    && /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/reaper/bin/pip install --no-deps /wheels/*.whl \
    && /opt/reaper/bin/python -m compileall -q /opt/reaper/lib

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="reaper" \
      org.opencontainers.image.description="Retention and garbage collection for container registries" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/reaper/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    REAPER_STORE__URL=sqlite:////var/lib/reaper/reaper.db
COPY --from=build /opt/reaper /opt/reaper
# Numeric, so that Kubernetes can prove that it is not root.
RUN mkdir -p /var/lib/reaper && chown 65532:65532 /var/lib/reaper
USER 65532:65532
VOLUME /var/lib/reaper
ENTRYPOINT ["reaper"]
CMD ["--help"]
